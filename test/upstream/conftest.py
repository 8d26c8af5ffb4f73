"""Tiny checkpoints in the official layouts, and the genuine experts of s3prl beside them."""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from featnorm_se.upstream import load_upstream

SCRIPT = Path(__file__).parents[1] / "tiny_checkpoints.py"
MEL = ["tera", "mockingjay"]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_checkpoints() -> Any:
    spec = importlib.util.spec_from_file_location("tiny_checkpoints", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def make_checkpoint(tiny_checkpoints: Any, tmp_path: Path) -> Callable[..., Path]:
    """``make_checkpoint("wavlm", **changes)`` writes a tiny checkpoint and returns its path."""

    def make(family: str, **changes: Any) -> Path:
        return tiny_checkpoints.make(tmp_path, f"{family}_tiny", **changes)

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


def quick_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the expert its table of 24,000 positions; ``test_positions`` compares the two."""
    from s3prl.upstream.mockingjay import builder

    from featnorm_se.upstream.mockingjay import sinusoids

    monkeypatch.setattr(builder, "get_sinusoid_table", lambda width: sinusoids(24000, width))
