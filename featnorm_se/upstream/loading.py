"""From a card to an upstream: random weights by seed, or the weights of a checkpoint."""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from featnorm_se.errors import FeatnormError
from featnorm_se.files import sha256_file
from featnorm_se.upstream.base import Upstream
from featnorm_se.upstream.checkpoint import check_promise, load_weights, read_checkpoint
from featnorm_se.upstream.download import fetch

FAMILIES = {
    "wavlm": "wavlm",
    "hubert": "hubert",
    "wav2vec2": "wav2vec2",
    "mockingjay": "mockingjay",
    "tera": "mockingjay",
    "fbank": "fbank",
}

# What s3prl's constructors raise for an architecture that makes no sense.
_UNBUILDABLE = (
    KeyError,
    TypeError,
    ValueError,
    AttributeError,
    AssertionError,
    RuntimeError,
    ZeroDivisionError,
)


def from_scratch(name: str, family: str, architecture: Mapping[str, Any], seed: int) -> Upstream:
    """Build an architecture with random weights; the same seed gives the same weights.

    Raises:
        FeatnormError: the architecture lacks something or cannot be built.
    """
    upstream = _build(family, architecture, seed)
    origin = partial(_random_weights, family, dict(architecture), seed)
    return _finish(upstream, name, f"scratch:{seed}", origin)


def from_file(name: str, card: Mapping[str, Any], checkpoint: str | Path | None) -> Upstream:
    """Build what a checkpoint describes and load its weights; ``None`` is the official one.

    Raises:
        FeatnormError: the file cannot be had or read, or is of another family, or its weights do
            not fit its own description.
    """
    family = card["family"]
    path = fetch(checkpoint, card).resolve()
    architecture, weights = _read(family, path)
    upstream = _build(family, architecture, seed=0, source=f"the checkpoint {path}")
    load_weights(upstream.model, weights, str(path))
    return _finish(
        upstream, name, f"sha256:{sha256_file(path)}", partial(_file_weights, family, path)
    )


def _module(family: str) -> ModuleType:
    if family not in FAMILIES:
        raise FeatnormError(f"there is no family {family!r}; there are {', '.join(FAMILIES)}")
    return import_module(f"featnorm_se.upstream.{FAMILIES[family]}")


def _build(
    family: str, architecture: Mapping[str, Any], seed: int, source: str = "the configuration"
) -> Upstream:
    module = _module(family)
    build = (
        partial(module.build, family=family) if family in ("mockingjay", "tera") else module.build
    )
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed, which would seed the accelerators as well.
        torch.default_generator.manual_seed(seed)
        try:
            with warnings.catch_warnings():
                # Of parts that s3prl builds with what torch has since renamed, or never uses.
                warnings.simplefilter("ignore")
                upstream: Upstream = build(copy.deepcopy(dict(architecture)))
            return upstream
        except FeatnormError as error:
            raise FeatnormError(
                f"cannot build a {family} upstream from {source}: {error}"
            ) from error
        except _UNBUILDABLE as error:
            raise FeatnormError(
                f"cannot build a {family} upstream from {source}:"
                f" {type(error).__name__} {str(error)[:120]}"
            ) from error


def _read(family: str, path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    states = read_checkpoint(path)
    try:
        architecture, weights = _module(family).read(states)
        json.dumps(architecture)  # it is to be stored with the trained model
        check_promise(architecture, weights, f"the checkpoint {path}")
        return architecture, weights
    except (KeyError, TypeError, AttributeError, FeatnormError) as error:
        held = ", ".join(sorted(map(str, states))[:8])
        reason = f": {error}" if isinstance(error, FeatnormError) else ""
        raise FeatnormError(
            f"the checkpoint {path} is not one of {family}{reason}; it holds {held}"
        ) from error


def _random_weights(family: str, architecture: dict[str, Any], seed: int) -> dict[str, Tensor]:
    return _build(family, architecture, seed).model.state_dict()


def _file_weights(family: str, path: Path) -> dict[str, Tensor]:
    return _read(family, path)[1]


def _finish(
    upstream: Upstream, name: str, identity: str, origin: Callable[[], dict[str, Tensor]]
) -> Upstream:
    upstream.name, upstream.identity, upstream._origin = name, identity, origin
    upstream.eval()
    upstream.configure()
    return upstream
