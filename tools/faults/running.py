"""A stage as a job of its own process group, and the faults that strike it."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from tiny_recipe import RECIPE, Command, run_commands

Fault = Literal["kill", "term", "full"]
FAULTS: tuple[Fault, ...] = ("kill", "term", "full")
FILLER = ".filler"
_LONGEST = 300.0  # seconds: what lasts longer hangs
_GRACE = 30.0  # seconds that processes may outlive the first of their group
_FILE_EVENTS = {"os.rename", "os.remove", "os.symlink", "os.mkdir", "os.rmdir", "os.link"}


class Moment(NamedTuple):
    """When to strike: after so many seconds of processor time (``cpu``), which does not depend on
    how busy the machine is, or before the n-th file operation (``event``)."""

    kind: str
    at: float

    def __str__(self) -> str:
        return f"{self.kind}:{self.at:g}"

    @classmethod
    def parse(cls, text: str) -> Moment:
        """Read what ``str`` gives."""
        kind, _, at = text.partition(":")
        return cls(kind, float(at))


@dataclass(frozen=True)
class Job:
    """What to run: a command line in the recipe's folder, or mains in a fork of this process."""

    log: Path
    line: Sequence[str] = ()
    commands: Sequence[Command] = field(default_factory=tuple)


@dataclass
class Outcome:
    """How a job ended: its exit status (minus the signal), how long it took, what it left.

    Attributes:
        cpu: processor time of the whole group, seconds.
        seconds_to_end: from the strike on.
        events: file operations of the main process.
        left: processes that were still there.
    """

    log: Path
    status: int
    seconds: float
    cpu: float = 0.0
    seconds_to_end: float = 0.0
    events: int = 0
    struck: bool = False
    left: int = 0


def run_job(
    job: Job, fault: Fault | None = None, moment: Moment | None = None, disk: Path | None = None
) -> Outcome:
    """Run a job to its end, striking it on the way when a fault is given."""
    began = time.monotonic()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent_before = before.ru_utime + before.ru_stime
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    pid = _start(job, fault, moment, disk, writer)
    os.close(writer)
    struck_at = None
    status = None
    if fault and moment and moment.kind == "cpu":
        status = _wait(pid, began + _LONGEST, moment.at)
        if status is None and disk:
            struck_at = time.monotonic()
            strike(fault, pid, disk)
    if status is None:
        status = _wait(pid, time.monotonic() + _LONGEST)
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    left = _end_group(pid, wait=0.0 if fault == "kill" else _GRACE)
    ended = time.monotonic()  # all of the group
    if status is None:
        _, code = os.waitpid(pid, 0)
        status = os.waitstatus_to_exitcode(code)
        left += 1  # it hung
    with os.fdopen(reader) as pipe:
        told = dict(line.split() for line in pipe.read().splitlines())
    if "struck" in told:
        struck_at = float(told["struck"])
    if fault != "full" and status == 0 and struck_at and ended - struck_at < 0.5:
        struck_at = None  # it was through before it could be struck
    return Outcome(
        log=job.log,
        status=status,
        seconds=ended - began,
        cpu=spent.ru_utime + spent.ru_stime - spent_before,
        seconds_to_end=ended - struck_at if struck_at else 0.0,
        events=int(told.get("events", 0)),
        struck=struck_at is not None,
        left=left,
    )


def strike(fault: Fault, group: int, disk: Path) -> None:
    """Let the fault happen to a process group."""
    if fault == "full":
        fill_disk(disk, group)
    else:
        os.killpg(group, signal.SIGKILL if fault == "kill" else signal.SIGTERM)


def fill_disk(disk: Path, pid: int) -> None:
    """Take all room on the disk; where it is not one of its own, forbid the process to write."""
    if not os.path.ismount(disk):
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        return
    with open(disk / FILLER, "ab", buffering=0) as handle:
        for size in (1 << 20, 4096, 1):
            try:
                while True:
                    handle.write(b"\0" * size)
            except OSError:
                continue


def free_disk(disk: Path) -> None:
    """Take back what ``fill_disk`` did."""
    (disk / FILLER).unlink(missing_ok=True)


def _start(
    job: Job, fault: Fault | None, moment: Moment | None, disk: Path | None, pipe: int
) -> int:
    sys.stdout.flush()
    job.log.parent.mkdir(parents=True, exist_ok=True)
    log = os.open(job.log, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o644)
    if job.line:
        process = subprocess.Popen(
            job.line, cwd=RECIPE, stdout=log, stderr=log, start_new_session=True
        )
        os.close(log)
        return process.pid
    pid = os.fork()
    if pid:
        os.close(log)
        _lead_group(pid)
        return pid
    status = 70
    try:
        _lead_group(0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        counter = _Counter(fault, moment, disk, pipe)
        sys.addaudithook(counter.hook)
        status = run_commands(job.commands)
        counter.tell(f"events {counter.count}")
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _lead_group(pid: int) -> None:
    """Make a process the first of a group, whichever of it and its parent comes first."""
    with suppress(OSError):  # it has ended
        os.setpgid(pid, pid)


class _Counter:
    """Counts what this process does to files, and strikes before the n-th of it."""

    def __init__(
        self, fault: Fault | None, moment: Moment | None, disk: Path | None, pipe: int
    ) -> None:
        self.fault, self.disk, self.pipe = fault, disk, pipe
        self.at = int(moment.at) if moment and moment.kind == "event" else 0
        self.count = 0
        self.owner = os.getpid()

    def tell(self, text: str) -> None:
        os.write(self.pipe, f"{text}\n".encode())

    def hook(self, event: str, args: tuple[Any, ...]) -> None:
        writes = (
            event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR)
        )
        if not (writes or event in _FILE_EVENTS) or os.getpid() != self.owner:
            return
        self.count += 1
        if self.count == self.at and self.fault and self.disk:
            self.tell(f"struck {time.monotonic()}")
            strike(self.fault, os.getpgrp(), self.disk)


def _wait(pid: int, until: float, cpu: float | None = None) -> int | None:
    """Return the status when the process ends before that time, or its group's use of the
    processor, else nothing."""
    while time.monotonic() < until and (cpu is None or _cpu_seconds(pid) < cpu):
        found, code = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(code)
        time.sleep(0.005)
    return None


def _cpu_seconds(group: int) -> float:
    """Return the processor time of a group's processes and of their children that ended."""
    ticks = sum(sum(map(int, fields[11:15])) for _, fields in _processes(group))
    return ticks / os.sysconf("SC_CLK_TCK")


def _end_group(group: int, wait: float) -> int:
    """Kill what is left of a process group after some seconds' grace; return how much that was."""
    until = time.monotonic() + wait
    while (left := _members(group)) and time.monotonic() < until:
        time.sleep(0.05)
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return 0
    while _members(group):
        time.sleep(0.01)
    return len(left) if wait else 0


def _members(group: int) -> list[int]:
    """Return the living processes of a group."""
    return [pid for pid, fields in _processes(group) if fields[0] not in "ZX"]


def _processes(group: int) -> list[tuple[int, list[str]]]:
    """Return number and status (proc(5), from the state on) of a group's processes."""
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with suppress(OSError):
                fields = Path(entry.path, "stat").read_text().rsplit(")", 1)[1].split()
                if int(fields[2]) == group:
                    found.append((int(entry.name), fields))
    return found
