"""Checkpoints read without running anything in them, and weights loaded without silence."""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from featnorm_se.errors import FeatnormError
from featnorm_se.files import atomic_path


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
    check_size(path)
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


def save_states(
    states: object,
    path: Path,
    save: Callable[..., None] = torch.save,
    *args: Any,
    **kwargs: Any,
) -> None:
    """Save what ``torch.save`` takes, whole or not at all; the same states give the same bytes.

    Args:
        states: what is saved.
        path: the file.
        save: ``torch.save``, as it was where somebody has replaced it.
        *args, **kwargs: its other arguments.

    Raises:
        FeatnormError: the disk is full or the file cannot be written.
    """
    with atomic_path(path) as temporary:
        _write(save, states, temporary, *args, **kwargs)


def _write(
    save: Callable[..., None], states: object, path: Path, *args: Any, **kwargs: Any
) -> None:
    # Through a handle the archive does not hold the temporary file's name.
    with open(path, "wb") as handle:
        try:
            save(states, handle, *args, **kwargs)
        except RuntimeError as error:
            # torch's zip writer tells a full disk so, and hides the system's error behind it.
            if isinstance(error.__context__, OSError):
                raise error.__context__ from error
            raise


def check_size(path: Path) -> None:
    """Refuse a zip of tensors that is packed: torch writes them as they are, a bomb does not.

    Raises:
        FeatnormError: unpacked, it would take more memory than the file has bytes.
    """
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            total = sum(member.file_size for member in archive.infolist())
    except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError, OSError) as error:
        raise FeatnormError(f"the checkpoint {path} is no whole zip file: {error}") from error
    if total > path.stat().st_size:
        raise FeatnormError(
            f"the checkpoint {path} is refused: it would unpack to {total} bytes, and torch"
            " packs nothing"
        )


# The sizes in the descriptions of the families' networks and of the head, under whatever group.
_DEPTHS = {"encoder_layers", "num_hidden_layers", "layers"}
_WIDTHS = {
    *("encoder_embed_dim", "encoder_ffn_embed_dim", "encoder_attention_heads", "num_buckets"),
    *("final_dim", "latent_vars", "latent_groups", "latent_dim", "labels", "adp_num", "adp_dim"),
    *("hidden_size", "num_attention_heads", "intermediate_size", "input_dim", "n_mels", "n_mfcc"),
    *("n_freq", "position_encoding_size", "n_fft", "win_length", "hop_length", "units"),
}
_FREE = 256 << 20  # bytes that any network may take


def check_promise(description: Any, weights: Mapping[str, Any], source: str) -> None:
    """Refuse a description of a network that is far larger than the weights that come with it.

    Without this a file of some bytes could ask for all the memory there is, before anybody sees
    that its weights do not fit.

    Args:
        description: nested groups, as in a checkpoint or in ``config.yaml``.
        weights: tensors by name.
        source: what messages call it.

    Raises:
        FeatnormError: the network would take many times the memory of the weights, or a weight
            is one number that is repeated.
    """
    held: dict[int, int] = {}
    for name, value in weights.items():
        if isinstance(value, Tensor):
            storage = value.untyped_storage()
            if value.numel() * value.element_size() > storage.nbytes():
                raise FeatnormError(f"{source} is refused: {name} has fewer numbers than it says")
            held[storage.data_ptr()] = storage.nbytes()
    told = {"layers": 1, "width": 1, "conv_pos": 1, "kernels": 1}
    for name, size in _sizes(description):
        told[name] = max(told[name], size)
    matrix = told["width"] ** 2
    wanted = 4 * max(told["layers"] * matrix, told["conv_pos"] * matrix // 16, told["kernels"])
    if wanted > _FREE + 16 * sum(held.values()):
        sizes = ", ".join(f"{name} {size}" for name, size in told.items())
        raise FeatnormError(
            f"{source} is refused: it describes a network of more than {wanted} bytes ({sizes}),"
            f" its weights have {sum(held.values())}"
        )


def _sizes(value: Any, name: str = "") -> Iterator[tuple[str, int]]:
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from _sizes(part, str(key))
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _sizes(part, name)
    elif name == "conv_feature_layers":
        for channels, kernel in re.findall(r"\(\s*(\d{1,18})\s*,\s*(\d{1,18})\s*,", str(value)):
            yield "kernels", int(channels) ** 2 * int(kernel)
    elif isinstance(value, int | float) and value == value:
        size = int(min(value, 1 << 62))
        if name in _DEPTHS or name in _WIDTHS or name == "conv_pos":
            yield "layers" if name in _DEPTHS else "width" if name in _WIDTHS else name, size


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
