"""Waveforms, batches and variants that the tests of the upstreams share."""

import importlib
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

WAVEFORM = ["wavlm", "hubert", "wav2vec2"]
MEL = ["tera", "mockingjay"]
FAMILIES = [*WAVEFORM, *MEL]
# What makes a Large model, at any size.
LARGE: dict[str, Any] = {
    "extractor_mode": "layer_norm",
    "layer_norm_first": True,
    "conv_bias": True,
    "normalize": True,
}
# Every family, with every option that changes how padding or normalization go.
VARIANTS = [
    *[(family, {}) for family in FAMILIES],
    *[(family, LARGE) for family in WAVEFORM],
    ("tera", {"cmvn": False}),
    ("mockingjay", {"delta": 1}),
]


def noise(*sizes: int, seed: int = 0) -> list[Tensor]:
    """Waveforms of the given sizes."""
    generator = torch.Generator().manual_seed(seed)
    return [0.1 * torch.randn(size, generator=generator) for size in sizes]


def batch(waves: list[Tensor]) -> tuple[Tensor, Tensor]:
    """A padded batch with its lengths."""
    padded = torch.nn.utils.rnn.pad_sequence(waves, batch_first=True)
    return padded, torch.tensor([len(wave) for wave in waves])


def genuine_expert(family: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """s3prl's own expert on a checkpoint.

    Its table of 24,000 positions is ours, which is quick; ``test_positions`` compares the two.
    """
    if family in MEL:
        from s3prl.upstream.mockingjay import builder

        from featnorm_se.upstream.mockingjay import sinusoids

        monkeypatch.setattr(builder, "get_sinusoid_table", lambda width: sinusoids(24000, width))
    module = importlib.import_module(f"s3prl.upstream.{family}.expert")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return module.UpstreamExpert(str(path)).eval()
