"""Tiny checkpoints in the official layouts, and the genuine experts of s3prl beside them."""

import importlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_models
from signals import MEL, quick_positions

from featnorm_se.upstream import load_upstream


@pytest.fixture
def make_checkpoint(tmp_path: Path) -> Callable[..., Path]:
    """``make_checkpoint("wavlm", **changes)`` writes a tiny checkpoint and returns its path."""

    def make(family: str, **changes: Any) -> Path:
        return tiny_models.make(tmp_path, f"{family}_tiny", **changes)

    return make


@pytest.fixture
def pair(make_checkpoint: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Callable:
    """``pair("wavlm", **changes)``: our upstream and s3prl's expert on one checkpoint."""

    def build(family: str, **changes: Any) -> tuple[Any, Any]:
        path = make_checkpoint(family, **changes)
        if family in MEL:
            quick_positions(monkeypatch)
        module = importlib.import_module(f"s3prl.upstream.{family}.expert")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expert = module.UpstreamExpert(str(path)).eval()
        return load_upstream(f"{family}_tiny", path), expert

    return build
