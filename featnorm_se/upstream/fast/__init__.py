"""Our own arithmetic on s3prl's weights: the waveform models' numbers, to rounding, in less time.

The plain path is s3prl's own modules; ``Upstream.configure(fast=...)`` chooses, and
``waveform.py`` asks here for two things only: the output of the convolutions (``encode``) and of
a transformer layer (``run_layer``). Here is also known where a device computes in bfloat16.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

from featnorm_se.upstream.fast.attention import run_layer
from featnorm_se.upstream.fast.convolutions import encode

__all__ = ["autocast_bf16", "encode", "has_bf16", "run_layer"]


def has_bf16(device: torch.device) -> bool:
    """Whether the device computes in bfloat16 by itself, so that it is faster than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def autocast_bf16(device: torch.device, wanted: bool) -> AbstractContextManager[object]:
    """Return a context of autocast to bfloat16, or one that changes nothing.

    Args:
        device: where the computing is done; without bfloat16 of its own nothing changes.
        wanted: whether bfloat16 is asked for at all.
    """
    if wanted and has_bf16(device):
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()
