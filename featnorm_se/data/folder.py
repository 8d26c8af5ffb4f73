"""Whole folders made or not at all, and one writer at a time."""

from __future__ import annotations

import fcntl
import glob
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from featnorm_se.errors import FeatnormError


@contextmanager
def one_writer(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Hold the right to write ``folder``: a lock file beside it, freed when the process ends.

    Raises:
        FeatnormError: another run holds it, or the folder's parent cannot be written.
    """
    target = Path(folder).absolute()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle = open(target.with_name(f".{target.name}.lock"), "w")  # noqa: SIM115
    except OSError as error:
        raise FeatnormError(f"cannot write {target}: {error.strerror}") from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise FeatnormError(
                f"another run is writing {target}: wait for it, or name another folder"
            ) from error
        yield


@contextmanager
def replaced_folder(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """Give an empty folder beside ``folder``; put it in its place when the block ends well.

    What a killed run left there is removed first.

    Raises:
        FeatnormError: the disk is full or the folder cannot be written.
    """
    target = Path(folder).absolute()
    # The number keeps a killed run's last worker, still writing, out of this run's folder.
    fresh = target.with_name(f".{target.name}.new.{os.getpid()}")
    stale = target.with_name(f".{target.name}.old")
    try:
        for leftover in (stale, *target.parent.glob(f"{glob.escape(f'.{target.name}.new.')}*")):
            shutil.rmtree(leftover, ignore_errors=True)
        fresh.mkdir(parents=True)
        yield fresh
        if target.exists():
            target.rename(stale)
        fresh.rename(target)
        shutil.rmtree(stale, ignore_errors=True)
    except OSError as error:
        raise FeatnormError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
