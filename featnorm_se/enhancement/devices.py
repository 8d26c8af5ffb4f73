"""Where to compute, and what is there."""

from __future__ import annotations

import torch

from featnorm_se.errors import FeatnormError


def choose_device(name: str) -> torch.device:
    """Return the device of a name; ``auto`` is a GPU if there is one.

    Raises:
        FeatnormError: there is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise FeatnormError(f"--device is auto, cpu or cuda, not {name!r}") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise FeatnormError(f"--device {name}: torch finds no GPU here; try auto or cpu")
    return device


def has_bf16(device: torch.device) -> bool:
    """Whether the device computes in bfloat16 by itself, so that it is faster than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
