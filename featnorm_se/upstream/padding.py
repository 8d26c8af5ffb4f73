"""Padded batches: masks, trimming and the zeros behind each utterance."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from featnorm_se.errors import FeatnormError


def padding_mask(lengths: Tensor, size: int) -> Tensor:
    """Return (B, size) booleans, true in the padding, for valid lengths (B,)."""
    return torch.arange(size, device=lengths.device) >= lengths.unsqueeze(1)


def zero_padding(x: Tensor, lengths: Tensor) -> Tensor:
    """Return x (B, T, D) with zeros behind each utterance's valid frames."""
    mask = padding_mask(lengths, x.size(1))
    return x.masked_fill(mask.unsqueeze(-1), 0.0)


def check_batch(wav: Tensor, wav_lengths: Tensor, shortest: int) -> tuple[Tensor, list[int]]:
    """Check a padded batch of waveforms and bring it to the size of its longest utterance.

    Args:
        wav: (B, N) samples.
        wav_lengths: (B,) valid samples.
        shortest: samples of one frame; shorter batches get zeros behind, up to it.

    Returns:
        wav (B, max(longest, shortest)) float32 with zeros in the padding, and the valid samples
        as a list.

    Raises:
        FeatnormError: the shapes do not fit, or a length is not in 1..N.
    """
    if wav.dim() != 2 or wav_lengths.shape != wav.shape[:1]:
        raise FeatnormError(
            f"an upstream takes waveforms (B, N) and lengths (B,), not {tuple(wav.shape)} and"
            f" {tuple(wav_lengths.shape)}"
        )
    lengths = [int(n) for n in wav_lengths.tolist()]
    if not lengths or min(lengths) < 1 or max(lengths) > wav.size(1):
        raise FeatnormError(
            f"the valid samples {lengths[:8]} of a batch must be in 1..{wav.size(1)}"
        )
    longest = max(lengths)
    wav = wav[:, :longest].float()
    if min(lengths) < longest:
        wav = wav.masked_fill(padding_mask(wav_lengths, longest), 0.0)
    if longest < shortest:
        wav = F.pad(wav, (0, shortest - longest))
    return wav, lengths
