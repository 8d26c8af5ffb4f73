"""Checkpoints read without running anything in them, and weights loaded without silence."""

import pickle
import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
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
_SCHEDULES = (
    "ConstantLR",
    "WarmupConstantSchedule",
    "WarmupLinearSchedule",
    "WarmupCosineSchedule",
    "WarmupCosineWithHardRestartsSchedule",
    "WarmupCosineWithWarmupRestartsSchedule",
)
_STAND_INS = [
    "argparse.Namespace",
    "pathlib.PosixPath",
    "pathlib._local.PosixPath",
    "fairseq.data.dictionary.Dictionary",
    *(f"{where}.{name}" for where in ("optimizers", "s3prl.optimizers") for name in _SCHEDULES),
]


def _allowed() -> list[Any]:
    numbers = [np.dtype(kind) for kind in ("f8", "f4", "f2", "i8", "i4", "u1", "?")]
    modules = ("numpy.core.multiarray", "numpy._core.multiarray")
    return [
        *((_Inert, name) for name in _STAND_INS),
        *((_number, f"{module}.scalar") for module in modules),
        timedelta,  # ESPnet's trainer keeps the times of its epochs so
        np.dtype,
        *{type(number) for number in numbers},
    ]


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint's tensors and plain containers; nothing in the file is executed.

    Raises:
        FeatnormError: it cannot be read, or holds something that would have to be executed.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with torch.serialization.safe_globals(_allowed()):
            states = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(states, dict):
            raise TypeError(f"it holds no dictionary but a {type(states).__name__}")
        return states
    except Exception as error:  # what torch raises on foreign bytes is not to be foreseen
        fault = f"the checkpoint {path} cannot be read: {_reason(path, error)}"
        raise FeatnormError(fault) from error


def _reason(path: Path, error: Exception) -> str:
    """Return a line for what torch says in many."""
    with suppress(OSError), open(path, "rb") as file:
        if file.read(20).startswith(b"version https://git"):
            return "it only says where Git LFS has it: run `git lfs pull` in that folder"
    for line in str(error).splitlines():
        if "GLOBAL" in line or "Trying to" in line:
            name = line.split("GLOBAL")[-1].split("was not")[0].strip()
            return f"it would execute code ({name[:100]}); only tensors and plain data are read"
    first = " ".join(str(error).split())[:120]
    return f"it is cut short or no checkpoint ({first}): get or make it again"


_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_LAYER = r"\(([1-9]\d{0,4}),([1-9]\d{0,4}),([1-9]\d{0,4})\)"
_LAYERS = re.compile(rf"\[({_LAYER}(?:,{_LAYER})*)\](?:\*(?P<times>[1-9]\d?))?")


def parse_conv_layers(text: str) -> list[tuple[int, int, int]]:
    """Read ``[(512,10,5)] + [(512,3,2)] * 4`` without running it.

    s3prl evaluates this string of the checkpoint as Python, so it must be known to be no more
    than a list before s3prl sees it.

    Returns:
        (channels, kernel, stride) of each layer.

    Raises:
        FeatnormError: the string is anything else.
    """
    layers: list[tuple[int, int, int]] = []
    for term in "".join(str(text).split()).split("+"):
        found = _LAYERS.fullmatch(term)
        if found is None:
            fault = "conv_feature_layers of the upstream is no list of (channels, kernel, stride)"
            raise FeatnormError(f"{fault}: {str(text)[:80]!r}")
        listed = [(int(c), int(k), int(s)) for c, k, s in re.findall(_LAYER, found[1])]
        layers += listed * int(found["times"] or 1)
    return layers


def _respell(name: str) -> str:
    """Return torch's older name of a weight norm's parameters; the newer one came with 2.0."""
    new = r"parametrizations\.weight\.original([01])$"
    return re.sub(new, lambda found: f"weight_{'gv'[int(found[1])]}", name)


def load_weights(
    model: nn.Module, weights: Mapping[str, Any], source: str, spare: Collection[str] = ()
) -> None:
    """Load weights, all of them and nothing else; those in ``spare`` may be missing or not fit.

    Raises:
        FeatnormError: weights are missing, left over, misshapen or not finite; it lists them.
    """
    own = {_respell(name): value for name, value in model.state_dict().items()}
    weights = {_respell(name): value for name, value in weights.items()}
    shared = {name: value for name, value in weights.items() if name in own}
    tensors = {
        name: value
        for name, value in shared.items()
        if isinstance(value, Tensor) and value.layout is torch.strided and not value.is_meta
        if value.dtype in (*_FLOATS, own[name].dtype)
    }
    for name in spare:
        value = tensors.get(name)
        if value is None or value.shape != own[name].shape or not value.isfinite().all():
            shared.pop(name, None)
            tensors.pop(name, None)
    faults = {
        "missing": [name for name in own if name not in weights and name not in spare],
        "left over": [name for name in weights if name not in own],
        "misshapen": [
            f"{name} {tuple(value.shape)} for {tuple(own[name].shape)}"
            for name, value in tensors.items()
            if value.shape != own[name].shape
        ],
        "no plain floats": [name for name in shared if name not in tensors],
        "not finite": [name for name, value in tensors.items() if not value.isfinite().all()],
    }
    found = [
        f"{len(names)} {fault} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
        for fault, names in faults.items()
        if names
    ]
    if found:
        raise FeatnormError(f"the weights of {source} do not fit: {'; '.join(found)}")
    own |= tensors
    model.load_state_dict({name: own[_respell(name)] for name in model.state_dict()})
