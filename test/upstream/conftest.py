"""Tiny checkpoints in the official layouts, and the genuine experts of s3prl beside them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_models
from signals import genuine_expert

from featnorm_se.upstream import load_upstream


@pytest.fixture
def make_checkpoint(tmp_path: Path) -> Callable[..., Path]:
    """``make_checkpoint("wavlm", **changes)`` writes a tiny checkpoint and returns its path."""

    def make(family: str, **changes: Any) -> Path:
        return tiny_models.make(tmp_path, f"{family}_tiny", **changes)

    return make


@pytest.fixture
def tiny(make_checkpoint: Callable[..., Path]) -> Callable[..., Any]:
    """``tiny("wavlm", **changes)``: an upstream of such a checkpoint."""
    return lambda family, **changes: load_upstream(
        f"{family}_tiny", make_checkpoint(family, **changes)
    )


@pytest.fixture
def pair(make_checkpoint: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Callable:
    """``pair("wavlm", **changes)``: our upstream and s3prl's expert on one checkpoint."""

    def build(family: str, **changes: Any) -> tuple[Any, Any]:
        path = make_checkpoint(family, **changes)
        expert = genuine_expert(family, path, monkeypatch)
        return load_upstream(f"{family}_tiny", path), expert

    return build
