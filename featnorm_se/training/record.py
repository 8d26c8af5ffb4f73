"""What a run keeps in its folder: ``run.json`` of how it was made, ``checkpoint.pth`` to go on."""

import math
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from featnorm_se.collection import check_versions, part_versions
from featnorm_se.config import differences
from featnorm_se.errors import FeatnormError, say
from featnorm_se.files import read_json, stamp, write_json
from featnorm_se.upstream import checkpoint

CHECKPOINT = "checkpoint.pth"
_LAST = ".checkpoint.last.pth"
_NAME = "run.json"
_IDENTITY = ("seed", "upstream_identity", "norm", "norm_site", "data_sources")


def read_record(expdir: Path) -> dict[str, Any]:
    """Return what ``run.json`` of an experiment says.

    Raises:
        FeatnormError: it is missing or broken.
    """
    if not (expdir / _NAME).is_file():
        raise FeatnormError(f"{expdir} holds no {_NAME}: train first (stage 3)")
    return dict(read_json(expdir / _NAME))


def _trained(value: Any) -> Any:
    """Return a field of a record; of the data, what it is tested on may be another."""
    return {**value, "test": None} if isinstance(value, Mapping) else value


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return both values of what two runs differ in, by the words that tell it."""
    known = [key for key in _IDENTITY if key in before]
    pairs = {key: (_trained(before[key]), _trained(now.get(key))) for key in known}
    wrong = {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}
    if "data_sources" in wrong:
        return {"data": ("of other recordings", "those that are prepared now")}
    if "upstream_identity" in wrong and now.get("init"):
        return {"--init": ("as it was then", "other weights there, trained further perhaps")}
    for kind, one in before.get("statistics", {}).items():
        made = now.get("statistics", {}).get(kind, one)
        if one.get("corpus", made.get("corpus")) != made.get("corpus"):
            wrong[f"{kind} statistics"] = ("of other speech", made["file"])
    if wrong or "config" not in before:
        return wrong
    return differences(before["config"], now["config"])


def is_finished(expdir: Path, fields: Mapping[str, Any]) -> bool:
    """Whether ``expdir`` holds this very run, trained for so many epochs to its end.

    ``fields`` say what the run is about.

    Raises:
        FeatnormError: the folder holds a run of something else, or one that is not at its end and
            that another environment began or that has lost its checkpoint.
    """
    if not (expdir / _NAME).is_file():
        return False
    before = read_record(expdir)
    trained = (expdir / CHECKPOINT).is_file() or (expdir / _LAST).is_file()
    if not (trained or before.get("finished") or any(expdir.glob("*epoch.pth"))):
        return False  # what trained nothing claims nothing
    if wrong := _differences(before, fields):
        reasons = "; ".join(
            f"{key} {'none' if old == '' else old}, this run has {'none' if new == '' else new}"
            for key, (old, new) in wrong.items()
        )
        mend = "give it another --tag or --expdir, or remove the folder"
        raise FeatnormError(f"{expdir / _NAME} is of a run with {reasons}: {mend}")
    longest, wanted = (one.get("max_epoch") or 40 for one in (before, fields))  # ESPnet's default
    was, now = (one.get("config", {}).get("patience") for one in (before, fields))
    was, now = (one if isinstance(one, int) else math.inf for one in (was, now))  # "none" too
    done = before.get("epochs", longest)
    is_early = done < longest  # by its patience
    if before.get("finished") and (now <= was if is_early else longest >= wanted):
        if is_early and wanted > longest:
            fault = f"{expdir} ended after {done} epochs, by patience {was}"
            say(f"warning: {fault}: a larger patience goes on")
        elif longest > wanted:
            fault = f"{expdir} has max_epoch {longest}, not {wanted}"
            say(f"warning: {fault}: another --tag trains anew")
        return True
    names = (re.fullmatch(r"(\d+)epoch\.pth", path.name) for path in expdir.glob("*epoch.pth"))
    epochs = [int(name[1]) for name in names if name]
    if max(epochs, default=0) > wanted:
        say(f"warning: {expdir} has {max(epochs)} epochs already, more than max_epoch {wanted}")
    mend = "take another --tag or --expdir"
    if not trained:  # training anew would write over its weights
        raise FeatnormError(f"{expdir} has no {CHECKPOINT} to go on from: {mend}, --init {expdir}")
    check_versions(before.get("versions", {}), str(expdir), mend)
    return False


@contextmanager
def recorded(expdir: Path, fields: Mapping[str, Any]) -> Iterator[None]:
    """Keep the record of a run that starts, or goes on, now, to its end or its error.

    The time is the sum that ESPnet kept over all epochs, so what was done before a cut counts and
    what a cut threw away does not. ``fields`` say what the run is about.
    """
    path = expdir / _NAME
    before = read_record(expdir) if path.is_file() else {}
    began = stamp([expdir / CHECKPOINT])
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
    write_json(path, record)
    shutil.rmtree(expdir / "features", ignore_errors=True)  # stage 5's look at other weights
    try:
        yield
    except BaseException as error:
        reason = f"{type(error).__name__}: {error}".strip(": ")
        record["result"] = {"status": "failed", "reason": reason, "ended": _now()}
        if before.get("finished") and stamp([expdir / CHECKPOINT]) == began:
            record = before  # its weights are what they were
        with suppress(FeatnormError):  # a full disk must not hide what went wrong
            write_json(path, record)
        raise
    epochs = read_reporter(expdir / CHECKPOINT).stats
    spent = (part["time"].total_seconds() for epoch in epochs.values() for part in epoch.values())
    record |= {"finished": _now(), "epochs": len(epochs)}
    record |= {"training_seconds": round(sum(spent), 1), "result": {"status": "finished"}}
    phase, figure, _ = fields["config"]["best_model_criterion"][0]
    best = expdir / f"{phase}.{figure}.best.pth"
    if best.is_symlink():
        record["best_epoch"] = int(re.sub(r"\D", "", os.readlink(best)) or 0)
        loss = epochs.get(record["best_epoch"], {}).get("valid", {}).get("loss")
        record["result"]["valid_loss"] = loss
    write_json(path, record)


def source_commit() -> tuple[str | None, bool | None]:
    """Return the commit of this source tree and whether it has changed since.

    Both are ``None`` where the package was not installed from a clone.
    """
    here = Path(__file__).resolve().parent

    def git(*args: str) -> str:
        command = ["git", "-C", str(here), *args]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", Path(__file__).resolve().name)
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain"))
    except (OSError, subprocess.CalledProcessError):
        return None, None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _machine() -> dict[str, Any]:
    info = Path("/proc/cpuinfo")
    cpus = info.read_text(encoding="utf-8") if info.is_file() else ""
    model = re.search(r"^model name\s*:\s*(.+)$", cpus, re.M)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": model[1] if model else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": round(memory / 2**30, 1),
        "gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        "processes": int(os.environ.get("WORLD_SIZE", "1")),
    }


def begin_saving(folder: Path) -> None:
    """Put the last epoch's checkpoint aside while ESPnet saves the next.

    ESPnet writes ``checkpoint.pth`` over the last one, then the epoch's weights, then it moves
    links and removes old weights. Until ``end_saving`` the last checkpoint is kept (an empty file:
    there was none), and a run that was killed in between does the epoch again from there. So
    what a kill left half done needs no mending: it is all done once more.
    """
    try:
        os.replace(folder / CHECKPOINT, folder / _LAST)
    except FileNotFoundError:
        (folder / _LAST).touch()


def end_saving(folder: Path) -> None:
    """Remove the last epoch's checkpoint: all of the new one is there."""
    (folder / _LAST).unlink(missing_ok=True)


def undo_cut_saving(folder: Path) -> None:
    """Go back to the last epoch's checkpoint where a run was killed while it saved the next."""
    last = folder / _LAST
    if not last.is_file():
        return
    if last.stat().st_size:
        os.replace(last, folder / CHECKPOINT)
    else:
        for first in (folder / CHECKPOINT, *folder.glob("*epoch.pth"), last):
            first.unlink(missing_ok=True)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return what ESPnet's trainer saved after an epoch; no code in the file is run.

    Raises:
        FeatnormError: it is not whole, or no such file.
    """
    try:
        states = checkpoint.read_checkpoint(path)
    except FeatnormError as error:
        mend = f"another --tag with --init {path.parent} starts from its best weights"
        raise FeatnormError(f"{error}; {mend}") from error
    lacking = {"model", "reporter", "optimizers", "schedulers"} - states.keys()
    if lacking:
        raise FeatnormError(f"{path} lacks {', '.join(sorted(lacking))}: remove it to train anew")
    return states


def read_reporter(path: Path) -> Any:
    """Return ESPnet's ``Reporter``, whose ``stats`` are figures by epoch, ``train`` or ``valid``.

    Raises:
        FeatnormError: see ``read_checkpoint``.
    """
    from espnet2.train.reporter import Reporter

    reporter = Reporter()  # it knows its own file: how times are kept differs between versions
    reporter.load_state_dict(read_checkpoint(path)["reporter"])
    return reporter
