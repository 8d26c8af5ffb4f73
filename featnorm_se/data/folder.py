"""Whole folders made or not at all, and one writer at a time."""

from __future__ import annotations

import errno
import fcntl
import glob
import os
import shlex
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from featnorm_se.errors import FeatnormError

_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO)


@contextmanager
def one_writer(
    folder: str | os.PathLike[str], lock: str | os.PathLike[str] | None = None
) -> Iterator[None]:
    """Hold the right to write ``folder``: a locked file, freed when the process ends.

    Who holds it is written into the file. On a file system without locks nothing is held; it says
    so and goes on. Whether a lock on one machine is seen from another is up to the file system.

    Args:
        folder: what is written.
        lock: the file; ``None``: a hidden one beside the folder.

    Raises:
        FeatnormError: another run holds it (the message names it), or the file cannot be written.
    """
    target = Path(folder).absolute()
    place = Path(lock) if lock else target.with_name(f".{target.name}.lock")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        handle = open(place, "a+", encoding="utf-8")  # noqa: SIM115
    except OSError as error:
        raise FeatnormError(f"cannot write {target}: {error.strerror}") from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise FeatnormError(
                f"another run is writing {target}{_holder(place)}: wait for it, or name another"
                " folder"
            ) from error
        except OSError as error:
            print(
                f"warning: {place} cannot be locked ({error.strerror}): let no second run write"
                f" {target}",
                file=sys.stderr,
            )
        # A full disk must not keep anybody from reading what is there.
        with suppress(OSError):
            os.ftruncate(handle.fileno(), 0)
            os.write(handle.fileno(), f"{_own_name()}\n".encode())
        try:
            yield
        finally:
            with suppress(OSError):
                os.ftruncate(handle.fileno(), 0)


def _own_name() -> str:
    """Say who this process is, in one line; run.sh says it in the same words."""
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    return " ".join(
        f"process {os.getpid()} on {os.uname().nodename} since {since}: {command}".split()
    )


def _holder(place: Path) -> str:
    """Return what the holder of a lock wrote of itself, which it may be about to do."""
    for _ in range(5):
        with suppress(OSError):
            if told := place.read_text(encoding="utf-8", errors="replace").strip():
                return f" ({told})"
        time.sleep(0.1)
    return ""


@contextmanager
def replaced_folder(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """Give an empty folder beside ``folder``; put it in its place when the block ends well.

    What a killed run left there is removed first.

    Raises:
        FeatnormError: the disk is full or the folder cannot be written. Other errors of the block
            are left as they are.
    """
    target = Path(folder).absolute()
    # The number keeps a killed run's last worker, still writing, out of this run's folder.
    fresh = target.with_name(f".{target.name}.new.{os.getpid()}")
    stale = target.with_name(f".{target.name}.old")
    given = False
    try:
        for leftover in (stale, *target.parent.glob(f"{glob.escape(f'.{target.name}.new.')}*")):
            shutil.rmtree(leftover, ignore_errors=True)
        fresh.mkdir(parents=True)
        given = True
        yield fresh
        given = False
        if target.exists():
            target.rename(stale)
        fresh.rename(target)
        shutil.rmtree(stale, ignore_errors=True)
    except OSError as error:
        # What the block does besides writing (reading, starting processes) fails by itself.
        if given and error.errno not in _DISK and str(fresh) not in str(error.filename):
            raise
        raise FeatnormError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
