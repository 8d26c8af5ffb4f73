"""``run.json``: what an experiment was made with, and how it ended."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from featnorm_se.collection import part_versions
from featnorm_se.errors import FeatnormError
from featnorm_se.files import read_json, write_json
from featnorm_se.training.checkpoints import CHECKPOINT, read_checkpoint

_NAME = "run.json"
_IDENTITY = ("seed", "upstream_identity", "norm", "norm_site", "config_sha256", "data_sources")


def read_record(expdir: Path) -> dict[str, Any]:
    """Return what ``run.json`` of an experiment says.

    Raises:
        FeatnormError: it is missing or broken.
    """
    if not (expdir / _NAME).is_file():
        raise FeatnormError(f"{expdir} holds no {_NAME}: train first (stage 3)")
    record: dict[str, Any] = read_json(expdir / _NAME)
    return record


def is_finished(expdir: Path, fields: Mapping[str, Any]) -> bool:
    """Whether ``expdir`` holds this very run, trained for so many epochs to its end.

    Args:
        expdir: the experiment's folder.
        fields: what the run is about.

    Raises:
        FeatnormError: the folder holds a run of something else.
    """
    if not (expdir / _NAME).is_file():
        return False
    before = read_record(expdir)
    for key in _IDENTITY:
        if key in before and before[key] != fields.get(key):
            raise FeatnormError(
                f"{expdir / _NAME} is of a run with {key} {before[key]!r}, this run has"
                f" {fields.get(key)!r}: give it another --tag or --expdir, or remove the folder"
            )
    return bool(before.get("finished")) and before.get("max_epoch") == fields["max_epoch"]


def start_record(expdir: Path, fields: Mapping[str, Any]) -> None:
    """Write the record of a run that starts, or goes on, now."""
    before = read_record(expdir) if (expdir / _NAME).is_file() else {}
    commit, dirty = source_commit()
    record = {
        **fields,
        "commit": commit,
        "dirty": dirty,
        "versions": part_versions(),
        "host": platform.node(),
        "machine": _machine(),
        "started": before.get("started", _now()),
        "resumed": [*before.get("resumed", []), _now()] if before else [],
        "finished": None,
        "result": {"status": "running"},
    }
    write_json(expdir / _NAME, record)


def finish_record(expdir: Path) -> None:
    """Write the record of a run that has ended well: time, epochs, the best of them.

    The time is the sum that ESPnet kept over all epochs, so what was done before a cut counts and
    what a cut threw away does not.
    """
    checkpoint = read_checkpoint(expdir / CHECKPOINT, mmap=True)
    epochs: dict[int, dict[str, Any]] = checkpoint["reporter"]["stats"]
    seconds = (
        part["time"].total_seconds()
        for epoch in epochs.values()
        for part in epoch.values()
        if "time" in part
    )
    record = read_record(expdir)
    record |= {"finished": _now(), "epochs": len(epochs)}
    record |= {"training_seconds": round(sum(seconds), 1), "result": {"status": "finished"}}
    best = expdir / "valid.loss.best.pth"
    if best.is_symlink():
        record["best_epoch"] = int(re.sub(r"\D", "", os.readlink(best)) or 0)
        loss = epochs.get(record["best_epoch"], {}).get("valid", {}).get("loss")
        record["result"]["valid_loss"] = loss
    write_json(expdir / _NAME, record)


def fail_record(expdir: Path, reason: str) -> None:
    """Write the record of a run that has ended with an error, if there is room for it."""
    with suppress(FeatnormError):  # a full disk must not hide what went wrong
        result = {"status": "failed", "reason": reason, "ended": _now()}
        write_json(expdir / _NAME, read_record(expdir) | {"result": result})


def source_commit() -> tuple[str | None, bool | None]:
    """Return the commit of this source tree and whether it has changed since.

    Both are ``None`` where the package was not installed from a clone.
    """
    here = Path(__file__).resolve().parent

    def git(*args: str) -> str:
        command = ["git", "-C", str(here), *args]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain"))
    except (OSError, subprocess.CalledProcessError):
        return None, None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _machine() -> dict[str, Any]:
    import torch

    try:
        memory = round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (ValueError, OSError):
        memory = None
    try:
        cpus = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        cpus = ""
    model = re.search(r"^model name\s*:\s*(.+)$", cpus, re.M)
    return {
        "cpu": model[1] if model else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": memory,
        "gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        "processes": int(os.environ.get("WORLD_SIZE", "1")),
    }
