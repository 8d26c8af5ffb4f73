"""From a card to an upstream: random weights by seed, or a checkpoint that is fetched once."""

import copy
import hashlib
import json
import warnings
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from featnorm_se.errors import FeatnormError, say
from featnorm_se.fetch import fetch_hub_file, fetch_hub_folder, is_hub_name, split_hub_address
from featnorm_se.files import sha256_file
from featnorm_se.upstream import huggingface, upstream_card
from featnorm_se.upstream.base import Upstream
from featnorm_se.upstream.checkpoint import load_weights, read_checkpoint

# The module of each; those that share one differ in their pre-training only.
FAMILIES = {
    "wavlm": "wavlm",
    "hubert": "wav2vec2",
    "wav2vec2": "wav2vec2",
    "mockingjay": "mockingjay",
    "tera": "mockingjay",
    "fbank": "mel",
}


def from_scratch(name: str, family: str, architecture: Mapping[str, Any], seed: int) -> Upstream:
    """Build an architecture with random weights; the same seed gives the same weights.

    Raises:
        FeatnormError: the architecture lacks something or cannot be built.
    """
    upstream = _build(name, family, architecture, seed, "the configuration")
    upstream.identity = f"scratch:{seed}"
    return upstream


def from_file(name: str, card: Mapping[str, Any], checkpoint: str | Path | None) -> Upstream:
    """Build what a checkpoint describes and load its weights; ``None`` is the official one.

    Raises:
        FeatnormError: the file cannot be had or read, or is of another family, or its weights do
            not fit its own description.
    """
    path = find(checkpoint, card).absolute()
    if path.suffix == ".zip":
        raise FeatnormError(f"{path} is a packed model and no upstream: give it to --init")
    known = card.get("sha256") if checkpoint is None else None
    if path.is_dir() or huggingface.is_described(path):
        full = card["architecture"] or upstream_card(card["family"])["architecture"]
        held = huggingface.read_folder(path, card["family"], full)
    else:
        held = (*_read(name, card, path), [path])
    architecture, weights, files = held
    digests = [sha256_file(file) for file in files]
    if known and digests != [known]:
        raise FeatnormError(f"{path} has SHA-256 {digests[0]}, not the card's {known}: remove it")
    upstream = _build(name, card["family"], architecture, 0, f"the checkpoint {path}")
    used = {key: value.requires_grad for key, value in upstream.model.named_parameters()}
    spare = {key for key, one in used.items() if not one and any(used.values())}
    load_weights(upstream.model, weights, str(path), spare)
    layers, width = card["layers"], card.get("width", upstream.width)
    if (layers, width) != (upstream.num_layers, upstream.width):
        size = f"{upstream.num_layers} layers of {upstream.width} channels"
        size += f", the card {name} {layers} of {width}"
        say(f"warning: {path} has {size}: it is used; is another --upstream meant?")
    # A folder's configuration changes what its weights compute.
    digest = digests[0] if len(digests) == 1 else hashlib.sha256(str(digests).encode()).hexdigest()
    upstream.source, upstream.identity = str(path), f"sha256:{digest}"
    return upstream


def _module(family: str) -> ModuleType:
    module = FAMILIES.get(str(family))
    if module is None:
        raise FeatnormError(f"there is no family {family!r}; there are {', '.join(FAMILIES)}")
    return import_module(f"featnorm_se.upstream.{module}")


def _build(
    name: str, family: str, architecture: Mapping[str, Any], seed: int, source: str
) -> Upstream:
    """Build an architecture with random weights, in eval mode and configured by default."""
    module = _module(family)
    fork = torch.random.fork_rng(devices=[])
    with fork, warnings.catch_warnings(), torch.inference_mode(False):
        # Not torch.manual_seed, which would seed the accelerators as well.
        torch.default_generator.manual_seed(seed)
        # Of parts that s3prl builds with what torch has since renamed, or never uses.
        warnings.simplefilter("ignore")
        try:
            described = {**copy.deepcopy(dict(architecture)), "family": family}
            upstream: Upstream = module.build(described)
        except Exception as error:  # s3prl's constructors raise whatever their values lead to
            reason = str(error) if isinstance(error, FeatnormError) else f"{error!r:.150}"
            raise FeatnormError(f"cannot build {family} from {source}: {reason}") from error
    upstream.name, upstream.family = name, family
    upstream.configure()
    upstream.eval()
    return upstream


def _read(
    name: str, card: Mapping[str, Any], path: Path
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Take architecture and weights out of one file; weights alone get the card's architecture."""
    states, family = read_checkpoint(path), card["family"]
    try:
        if family in huggingface.FAMILIES and all(isinstance(v, Tensor) for v in states.values()):
            weights = huggingface.rename(states)
            layers = {key.split(".")[2] for key in weights if key.startswith("encoder.layers.")}
            if len(layers) != card["layers"]:
                size = f"{len(layers)} layers; {name} has {card['layers']}"
                mend = "name its own --upstream, or put its config.json beside it"
                raise FeatnormError(f"it holds weights alone, of {size}: {mend}")
            return card["architecture"], weights
        architecture, weights = _module(family).read(states)
        if (found := architecture.get("family", family)) != family:
            raise FeatnormError(f"its weights are {found}'s")
        json.dumps(architecture)  # it is to be stored with the trained model
        return architecture, weights
    except (KeyError, TypeError, AttributeError, FeatnormError) as error:
        held = ", ".join(sorted(map(str, states))[:8])
        reason = f": {error}" if isinstance(error, FeatnormError) else ""
        fault = f"the checkpoint {path} is not one of {family}{reason}; it holds {held}"
        raise FeatnormError(fault) from error


def find(checkpoint: str | Path | None, card: Mapping[str, Any]) -> Path:
    """Return the local file or folder of a checkpoint, fetching it when it is not there yet.

    What lies here goes first, then what s3prl has fetched, then the Hugging Face hub.

    Args:
        checkpoint: ``None`` for the card's own source; else a path, ``owner/name``,
            ``owner/name@revision`` or the address of a page or file of the hub.
        card: the upstream's card.

    Raises:
        FeatnormError: there is no such file, or it cannot be fetched; the message says what to do.
    """
    source = str(card["source"] if checkpoint is None else checkpoint)
    path = Path(source).expanduser()
    fetched = f"{hashlib.sha256(source.encode()).hexdigest()}.{path.name}"
    for here in (path, Path.home() / ".cache" / "s3prl" / "download" / fetched):
        if here.exists():
            return here
    if hub := split_hub_address(source) or (is_hub_name(source) and (source, "")):
        repository, file = hub
        if file and not file.endswith(huggingface.ENDINGS):
            return fetch_hub_file(repository, file)
        names = [file] if file else huggingface.WEIGHTS
        return fetch_hub_folder(repository, huggingface.CONFIG, *names) / file
    if "://" in source:
        mend = f"wget -O FILE '{source}', then give FILE as the checkpoint"
        raise FeatnormError(f"{source} is not on the Hugging Face hub, so not fetched: {mend}")
    fault = f"there is no checkpoint {path}: give a file, Hugging Face's folder or name, or scratch"
    raise FeatnormError(fault)
