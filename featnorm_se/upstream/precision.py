"""What precisions a device computes in, by their names."""

from contextlib import AbstractContextManager

import torch


def has_bf16(device: torch.device) -> bool:
    """Whether the device computes in bfloat16 by itself, so that it is faster than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def computing(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Return the context to compute in, by the name of a precision.

    ``float32`` is exact; ``tf32`` has 10 bits of mantissa in a GPU's products, a thousandth or so,
    and ``auto`` is that; ``bf16`` is autocast. What the device has not is float32. Torch keeps the
    choice of TF32 for the process, and so it holds for the gradients too; cuDNN's
    attention stays off for the process, too.
    """
    if device.type == "cuda":
        torch.set_float32_matmul_precision("highest" if precision == "float32" else "high")
        torch.backends.cudnn.allow_tf32 = precision != "float32"
        # In bf16 torch would take it first on an H100; beside a mask its gradients can be NaN
        # (https://github.com/pytorch/pytorch/issues/196678).
        torch.backends.cuda.enable_cudnn_sdp(False)
    if precision == "bf16" and has_bf16(device):
        return torch.autocast(device.type, torch.bfloat16)
    return torch.autocast(device.type, enabled=False)  # whoever calls may have one on


def product_type(x: torch.Tensor) -> torch.dtype:
    """Return the type in which autocast would have matrix products computed here."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
