"""From a card to an upstream: random weights by seed, or a checkpoint that is fetched once."""

from __future__ import annotations

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

from featnorm_se.errors import FeatnormError
from featnorm_se.fetch import fetch_file
from featnorm_se.files import locked, sha256_file
from featnorm_se.upstream.base import Upstream
from featnorm_se.upstream.checkpoint import load_weights, read_checkpoint

# The module of each; Mockingjay and TERA differ in their pre-training only.
FAMILIES = {
    "wavlm": "wavlm",
    "hubert": "hubert",
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
    path = fetch(checkpoint, card).resolve()
    architecture, weights = _read(card["family"], path)
    upstream = _build(name, card["family"], architecture, 0, f"the checkpoint {path}")
    load_weights(upstream.model, weights, str(path))
    upstream.identity = f"sha256:{sha256_file(path)}"
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
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        # Not torch.manual_seed, which would seed the accelerators as well.
        torch.default_generator.manual_seed(seed)
        # Of parts that s3prl builds with what torch has since renamed, or never uses.
        warnings.simplefilter("ignore")
        try:
            upstream: Upstream = module.build(copy.deepcopy(dict(architecture)))
        except Exception as error:  # s3prl's constructors raise whatever their values lead to
            reason = str(error) if isinstance(error, FeatnormError) else f"{error!r:.150}"
            raise FeatnormError(
                f"cannot build a {family} upstream from {source}: {reason}"
            ) from error
    upstream.name, upstream.family = name, family
    upstream.configure()
    upstream.eval()
    return upstream


def _read(family: str, path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    states = read_checkpoint(path)
    try:
        architecture, weights = _module(family).read(states)
        json.dumps(architecture)  # it is to be stored with the trained model
        return architecture, weights
    except (KeyError, TypeError, AttributeError, FeatnormError) as error:
        held = ", ".join(sorted(map(str, states))[:8])
        reason = f": {error}" if isinstance(error, FeatnormError) else ""
        raise FeatnormError(
            f"the checkpoint {path} is not one of {family}{reason}; it holds {held}"
        ) from error


def fetch(checkpoint: str | Path | None, card: Mapping[str, Any]) -> Path:
    """Return the local file of a checkpoint, fetching it when it is not there yet.

    One process fetches it; others that want it then wait.

    Args:
        checkpoint: ``None`` for the card's own source; else a path or URL (https, or http on this
            machine).
        card: the upstream's card; its ``sha256`` and ``bytes`` hold for its own source.

    Raises:
        FeatnormError: there is no such file, or it cannot be fetched; the message says which file
            to put where.
    """
    known = card if checkpoint is None else {}
    source = card["source"] if checkpoint is None else str(checkpoint)
    if "://" not in source:
        path = Path(source).expanduser()
        if not path.is_file():
            raise FeatnormError(f"there is no checkpoint {path}; give a file, a URL or scratch")
        return path
    target = cache_path(source)
    if not target.is_file():
        mend = f"fetch it elsewhere and put it at {target}, or give its path as the checkpoint"
        digest = f"sha256:{known['sha256']}" if known.get("sha256") else None
        with locked(target, wait=True):
            if not target.is_file():
                fetch_file(source, target, size=known.get("bytes"), digest=digest, mend=mend)
    return target


def cache_path(url: str) -> Path:
    """Where the file of a URL is kept: the place and name that s3prl uses."""
    name = f"{hashlib.sha256(url.encode()).hexdigest()}.{Path(url).name}"
    return Path.home() / ".cache" / "s3prl" / "download" / name
