"""What two runs must agree on: a digest of every file of a tree, by what the file says."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

# Logs, times, curves and locks differ from run to run by their nature.
_LEFT_OUT_FOLDERS = {"log", "tensorboard", "images", "logdir"}
_LEFT_OUT_ENDINGS = (".log", ".lock")
_OF_THE_RUN = ("norm", "norm_site", "config_sha256", "upstream_identity", "epochs", "best_epoch")


def digests(root: Path) -> dict[str, str]:
    """Return the digest of each file below ``root`` by its relative path.

    Hidden files (temporary ones, locks) and what differs by its nature are left out.
    """
    found = {}
    for parent, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in _LEFT_OUT_FOLDERS and name[0] != "."]
        for name in names:
            if name.startswith(".") or name.endswith(_LEFT_OUT_ENDINGS):
                continue
            path = Path(parent, name)
            found[str(path.relative_to(root))] = digest(path)
    return found


def digest(path: Path) -> str:
    """Return a digest of what the file says; ``broken: ...`` when it cannot be read."""
    if path.is_symlink():
        return f"-> {os.readlink(path)}"
    if path.stat().st_size == 0:
        return "empty"
    readers = {".pth": _states, ".npz": _arrays, ".jsonl": _lines, ".json": _record}
    try:
        value = readers.get(path.suffix, _bytes)(path)
    except Exception as error:  # whatever a broken file makes its reader say
        return f"broken: {type(error).__name__}: {error}"
    return hashlib.sha256(value).hexdigest()


def _bytes(path: Path) -> bytes:
    return path.read_bytes()


def _states(path: Path) -> bytes:
    import torch

    states = torch.load(path, map_location="cpu", weights_only=False)
    if "reporter" in states:
        epochs = states["reporter"]["stats"]
        states["reporter"] = {
            (epoch, part, key): value
            for epoch, parts in epochs.items()
            for part, values in parts.items()
            for key, value in values.items()
            if "time" not in key and "GPU" not in key
        }
    return _plain(states)


def _plain(value: Any) -> bytes:
    import torch

    if isinstance(value, torch.Tensor):
        head = f"{value.dtype}{tuple(value.shape)}".encode()
        return head + value.contiguous().view(-1).view(torch.uint8).numpy().tobytes()
    if isinstance(value, dict):
        return b"".join(repr(key).encode() + _plain(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return b"".join(_plain(item) for item in value)
    return repr(value).encode()


def _arrays(path: Path) -> bytes:
    import numpy as np

    with np.load(path, allow_pickle=False) as arrays:
        parts = [(key, arrays[key]) for key in sorted(arrays.files)]
    # The statistics' meta data holds a hash of the files' times.
    return b"".join(
        key.encode() + str(value.dtype).encode() + value.tobytes() for key, value in parts
    )


def _lines(path: Path) -> bytes:
    lines = path.read_text(encoding="utf-8").splitlines()
    # A cut line may stand in the middle of a cache; it counts for nothing.
    return b"\n".join(sorted({line.encode() for line in lines if _parses(line)}))


def _parses(line: str) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _record(path: Path) -> bytes:
    record = json.loads(path.read_text(encoding="utf-8"))
    if path.name == "run.json":
        record = {key: record.get(key) for key in _OF_THE_RUN}
    if path.name == "prepare.json":
        record.pop("sources")  # made of the files' times
    return json.dumps(record, sort_keys=True).encode()


def differences(wanted: dict[str, str], found: dict[str, str]) -> list[str]:
    """Return the names on which two trees differ, with what is wrong."""
    told = [f"{name} is missing" for name in sorted(wanted.keys() - found.keys())]
    told += [f"{name} is too much" for name in sorted(found.keys() - wanted.keys())]
    told += [
        f"{name} is another ({found[name][:60]})"
        for name in sorted(wanted.keys() & found.keys())
        if wanted[name] != found[name]
    ]
    return told


def cut_short(
    before: dict[str, str], wanted: dict[str, str], found: dict[str, str], evolving: tuple[str, ...]
) -> list[str]:
    """Return the files that a fault left under their own name without being whole.

    A file is whole when it says what it said before or what it says at the end; files whose
    names end in one of ``evolving`` may say something in between, but must be readable.
    """
    bad = []
    for name, value in found.items():
        if value in (before.get(name), wanted.get(name)):
            continue
        if value == "empty" and name.endswith("config.yaml"):
            continue  # ESPnet empties it before it writes; an empty one is refused by its readers
        if value.startswith("broken"):
            bad.append(f"{name}: {value[:80]}")
        elif not name.endswith(evolving):
            bad.append(f"{name} is neither what it was nor what it becomes")
    return bad
