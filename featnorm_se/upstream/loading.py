"""From a card to an upstream: random weights by seed, or the weights of a checkpoint."""

from __future__ import annotations

import copy
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
from featnorm_se.files import sha256_file
from featnorm_se.upstream.base import Upstream
from featnorm_se.upstream.checkpoint import load_weights, read_checkpoint
from featnorm_se.upstream.download import fetch

FAMILIES = ("wavlm", "hubert", "wav2vec2", "mockingjay", "tera", "fbank")


def from_scratch(name: str, family: str, architecture: Mapping[str, Any], seed: int) -> Upstream:
    """Build an architecture with random weights; the same seed gives the same weights.

    Raises:
        FeatnormError: the architecture lacks something or cannot be built.
    """
    upstream = _build(family, architecture, seed, "the configuration")
    return _finish(upstream, name, f"scratch:{seed}")


def from_file(name: str, card: Mapping[str, Any], checkpoint: str | Path | None) -> Upstream:
    """Build what a checkpoint describes and load its weights; ``None`` is the official one.

    Raises:
        FeatnormError: the file cannot be had or read, or is of another family, or its weights do
            not fit its own description.
    """
    path = fetch(checkpoint, card).resolve()
    architecture, weights = _read(card["family"], path)
    upstream = _build(card["family"], architecture, 0, f"the checkpoint {path}")
    load_weights(upstream.model, weights, str(path))
    return _finish(upstream, name, f"sha256:{sha256_file(path)}")


def _module(family: str) -> ModuleType:
    if family not in FAMILIES:
        raise FeatnormError(f"there is no family {family!r}; there are {', '.join(FAMILIES)}")
    # Mockingjay and TERA differ in their pre-training only.
    return import_module(f"featnorm_se.upstream.{'mockingjay' if family == 'tera' else family}")


def _build(family: str, architecture: Mapping[str, Any], seed: int, source: str) -> Upstream:
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
    upstream.family = family
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


def _finish(upstream: Upstream, name: str, identity: str) -> Upstream:
    upstream.name, upstream.identity = name, identity
    upstream.eval()
    upstream.configure()
    return upstream
