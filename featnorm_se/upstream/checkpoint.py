"""Checkpoints read without running anything in them, and weights loaded without silence."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from featnorm_se.errors import FeatnormError


class _Inert:
    """Stands for an object of a checkpoint that is not needed; keeps its state, runs nothing."""

    def __init__(self, *args: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.__dict__.update(state)


def _number(dtype: np.dtype[Any], raw: bytes) -> Any:
    """A NumPy scalar. Plain numbers only: for objects NumPy would unpickle the bytes itself."""
    if not isinstance(dtype, np.dtype) or dtype.kind not in "biuf":
        raise pickle.UnpicklingError("a NumPy scalar that is no number")
    return np.frombuffer(raw, dtype=dtype, count=1)[0]


# What the official Mockingjay and TERA files hold beside tensors and plain containers: the
# arguments of the pre-training run, numbers of its log, and its learning-rate schedule; and in
# fairseq's files, its dictionary of labels. None of it is used, so a stand-in takes its place.
_SCHEDULES = [
    f"{package}.{name}"
    for package in ("optimizers", "s3prl.optimizers")
    for name in (
        "ConstantLR",
        "WarmupConstantSchedule",
        "WarmupLinearSchedule",
        "WarmupCosineSchedule",
        "WarmupCosineWithHardRestartsSchedule",
        "WarmupCosineWithWarmupRestartsSchedule",
    )
]
_STAND_INS = [
    "argparse.Namespace",
    "pathlib.PosixPath",
    "pathlib._local.PosixPath",
    "fairseq.data.dictionary.Dictionary",
    *_SCHEDULES,
]


def _allowed() -> list[Any]:
    numbers = [np.dtype(kind) for kind in ("f8", "f4", "f2", "i8", "i4", "u1", "?")]
    modules = ("numpy.core.multiarray", "numpy._core.multiarray")
    return [
        *((_Inert, name) for name in _STAND_INS),
        *((_number, f"{module}.scalar") for module in modules),
        np.dtype,
        *{type(number) for number in numbers},
    ]


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint's tensors and plain containers; nothing in the file is executed.

    Args:
        path: the file.

    Returns:
        The dictionary in it.

    Raises:
        FeatnormError: there is no such file, it is empty, a web page, cut short, of another
            kind, or holds something that would have to be executed.
    """
    if not path.is_file():
        raise FeatnormError(f"there is no checkpoint {path}")
    with open(path, "rb") as handle:
        head = handle.read(512)
    if not head:
        raise FeatnormError(f"the checkpoint {path} is empty; remove it and fetch it again")
    if head.lstrip()[:1] == b"<":
        raise FeatnormError(
            f"the checkpoint {path} is a web page, not a model; remove it and fetch it again"
        )
    if head.startswith(b"PK") and not zipfile.is_zipfile(path):
        raise FeatnormError(f"the checkpoint {path} is cut short; remove it and fetch it again")
    try:
        with torch.serialization.safe_globals(_allowed()):
            states = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise FeatnormError(f"the checkpoint {path} is refused: {_reason(str(error))}") from error
    except Exception as error:  # what torch raises on foreign bytes is not to be foreseen
        reason = f"{type(error).__name__} {error}".splitlines()[0][:120]
        raise FeatnormError(
            f"the checkpoint {path} cannot be read, perhaps it is cut short or no checkpoint:"
            f" {reason}"
        ) from error
    if not isinstance(states, dict):
        raise FeatnormError(
            f"the checkpoint {path} holds no dictionary but a {type(states).__name__}"
        )
    return states


def _reason(message: str) -> str:
    """The short reason in torch's long refusal."""
    for line in message.splitlines():
        if "Unsupported global" in line or "Trying to" in line or "unsupported" in line.lower():
            name = line.split("GLOBAL")[-1].split("was not")[0].strip()
            return f"it would execute code ({name[:100]}); only tensors and plain data are read"
    return f"it is no checkpoint of tensors and plain data ({message.splitlines()[-1][:100]})"


def load_weights(model: nn.Module, weights: Mapping[str, Any], source: str) -> None:
    """Load weights, all of them and nothing else.

    Raises:
        FeatnormError: weights are missing, left over, misshapen or not finite; it lists them.
    """
    own = model.state_dict()
    faults = {
        "missing": [name for name in own if name not in weights],
        "left over": [name for name in weights if name not in own],
        "misshapen": [
            f"{name} {tuple(value.shape)} for {tuple(own[name].shape)}"
            for name, value in weights.items()
            if name in own and isinstance(value, Tensor) and value.shape != own[name].shape
        ],
        "no tensor": [n for n, v in weights.items() if n in own and not isinstance(v, Tensor)],
    }
    if not any(faults.values()):
        faults["not finite"] = [n for n, v in weights.items() if not torch.isfinite(v).all()]
    told = [
        f"{len(names)} {fault} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
        for fault, names in faults.items()
        if names
    ]
    if told:
        raise FeatnormError(f"the weights of {source} do not fit: {'; '.join(told)}")
    model.load_state_dict(dict(weights))
