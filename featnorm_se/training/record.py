"""``run.json``: what an experiment was made with, and how it ended."""

from __future__ import annotations

import json
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
from featnorm_se.files import write_json


class RunRecord:
    """The record of one experiment, kept in its folder.

    Args:
        path: the ``run.json``.
        fields: its content.
    """

    def __init__(self, path: Path, fields: dict[str, Any]) -> None:
        self.path = path
        self.fields = fields

    @classmethod
    def start(cls, expdir: Path, fields: Mapping[str, Any]) -> RunRecord:
        """Write the record of a run that starts, or goes on, now.

        Args:
            expdir: the experiment's folder.
            fields: what the experiment is about.

        Raises:
            FeatnormError: the folder holds a run of something else.
        """
        path = expdir / "run.json"
        before: dict[str, Any] = {}
        if path.is_file():
            before = read_record(expdir)
            _same_experiment(path, before, fields)
        commit, dirty = source_commit()
        now = _now()
        record = {
            **fields,
            "commit": commit,
            "dirty": dirty,
            "versions": part_versions(),
            "host": platform.node(),
            "machine": _machine(),
            "started": before.get("started", now),
            "resumed": [*before.get("resumed", []), now] if before else [],
            "finished": None,
            "result": {"status": "running"},
        }
        write_json(path, record)
        return cls(path, record)

    @classmethod
    def is_finished(cls, expdir: Path, fields: Mapping[str, Any]) -> bool:
        """Whether ``expdir`` holds this very run, trained for so many epochs to its end.

        Raises:
            FeatnormError: the folder holds a run of something else.
        """
        path = expdir / "run.json"
        if not path.is_file():
            return False
        before = read_record(expdir)
        _same_experiment(path, before, fields)
        return bool(before.get("finished")) and before.get("max_epoch") == fields["max_epoch"]

    def finish(self) -> None:
        """Write the record of a run that has ended well: time, epochs, the best of them.

        The time is the sum that ESPnet kept over all epochs, so what was done before a cut
        counts and what a cut threw away does not.
        """
        expdir = self.path.parent
        epochs = _epochs(expdir / "checkpoint.pth")
        self.fields["finished"] = _now()
        self.fields["epochs"] = len(epochs)
        self.fields["training_seconds"] = round(sum(map(_seconds, epochs.values())), 1)
        result: dict[str, Any] = {"status": "finished"}
        best = expdir / "valid.loss.best.pth"
        if best.is_symlink():
            epoch = int(re.sub(r"\D", "", os.readlink(best)) or 0)
            self.fields["best_epoch"] = epoch
            result["valid_loss"] = epochs.get(epoch, {}).get("valid", {}).get("loss")
        self.fields["result"] = result
        write_json(self.path, self.fields)

    def fail(self, reason: str) -> None:
        """Write the record of a run that has ended with an error, if there is room for it."""
        self.fields["result"] = {"status": "failed", "reason": reason, "ended": _now()}
        with suppress(FeatnormError):  # a full disk must not hide what went wrong
            write_json(self.path, self.fields)


def process_rank(launcher: Mapping[str, str]) -> int:
    """Return which of the processes of a run this is; 0, the only or first one, keeps the record.

    Args:
        launcher: what ``espnet2.bin.launch`` told it, in ESPnet's keys; without a word, ``RANK``
            of the environment counts (srun and torchrun on the processor).

    Raises:
        FeatnormError: the launcher that is named did not start this process.
    """
    if not launcher.get("dist_launcher"):
        return int(launcher.get("dist_rank") or os.environ.get("RANK") or 0)
    from espnet2.train.distributed_utils import get_node_rank

    try:
        return get_node_rank(None, launcher["dist_launcher"]) or 0
    except ImportError as error:
        raise FeatnormError("several machines by mpirun need the package mpi4py") from error
    except RuntimeError as error:
        told = f"--dist_launcher {launcher['dist_launcher']}: {error}"
        raise FeatnormError(f"{told}; it is for espnet2.bin.launch to give") from error


_IDENTITY = ("seed", "upstream_identity", "norm", "norm_site", "config_sha256", "data_sources")


def read_record(expdir: Path) -> dict[str, Any]:
    """Return what ``run.json`` of an experiment says.

    Raises:
        FeatnormError: it is missing or broken.
    """
    path = expdir / "run.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise FeatnormError(f"{expdir} holds no run.json: train first (stage 3)") from error
    except (OSError, ValueError) as error:
        raise FeatnormError(f"{path} cannot be read ({error}): remove the folder") from error


def _same_experiment(path: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    for key in _IDENTITY:
        if key in before and before[key] != now.get(key):
            raise FeatnormError(
                f"{path} is of a run with {key} {before[key]!r}, this run has {now.get(key)!r}:"
                " give it another --tag or --expdir, or remove the folder"
            )


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


def _epochs(checkpoint: Path) -> dict[int, dict[str, Any]]:
    """Return ESPnet's figures of every epoch: by part (train, valid), by name."""
    from featnorm_se.training.checkpoints import read_checkpoint

    stats: dict[int, dict[str, Any]] = read_checkpoint(checkpoint)["reporter"]["stats"]
    return stats


def _seconds(epoch: Mapping[str, Any]) -> float:
    """Return what an epoch took, training and validation."""
    return sum(part["time"].total_seconds() for part in epoch.values() if "time" in part)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _machine() -> dict[str, Any]:
    try:
        memory = round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (ValueError, OSError):
        memory = None
    return {
        "cpu": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": memory,
        "gpu": _gpu(),
        "processes": int(os.environ.get("WORLD_SIZE", "1")),
    }


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.M)
    return found.group(1) if found else platform.machine()


def _gpu() -> str | None:
    import torch

    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
