"""Files and folders written whole or not at all, by one writer at a time, and not twice."""

import csv
import errno
import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

from featnorm_se.errors import FeatnormError, say

PathLike = str | os.PathLike[str]
_temporary: set[Path] = set()  # what this process is writing


@contextmanager
def atomic_path(path: PathLike) -> Iterator[Path]:
    """Give a temporary name beside ``path``; rename it to ``path`` when the block ends well.

    The suffix is kept, since some writers choose their format by it. When the block raises,
    the temporary file is removed and ``path`` stays as it was. Its folder is made where missing.

    Raises:
        FeatnormError: the folder cannot be made or written to.
    """
    target = Path(path)
    # Not the whole name: with what goes before it, it could be too long.
    short = short_hash(target.name) + target.suffix[-16:]
    temporary = target.with_name(f".{os.getpid()}.tmp.{short}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _temporary.add(temporary)
        yield temporary
        with open(temporary, "rb+") as handle:
            os.fsync(handle.fileno())
        os.replace(temporary, target)
    except OSError as error:
        raise FeatnormError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        _temporary.discard(temporary)
        with suppress(OSError):
            temporary.unlink()


def drop_temporary(*_: object) -> NoReturn:
    """End this process on a signal, without what it is writing."""
    for path in [*_temporary]:
        path.unlink(missing_ok=True)
    os._exit(143)


def remove_temporary(folder: Path) -> None:
    """Remove what killed writers left in a folder that nobody else is writing to now."""
    for leftover in folder.glob(".[0-9]*.tmp.*"):
        leftover.unlink(missing_ok=True)


def write_text(path: PathLike, text: str) -> None:
    """Write ``text`` (UTF-8) to ``path``, whole or not at all; bytes that are none, escaped."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def csv_text(rows: Iterable[Iterable[Any]]) -> str:
    """Return rows as CSV, a heading first; ``None`` is an empty cell."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def write_json(path: PathLike, value: Any) -> None:
    """Write ``value`` as indented JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, sort_keys=False) + "\n")


@contextmanager
def reading(path: PathLike) -> Iterator[None]:
    """Name the file when the system cannot read it, or when it is not UTF-8 text.

    Raises:
        FeatnormError: so it is.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise FeatnormError(f"there is no such file: {path}") from error
    except OSError as error:
        raise FeatnormError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        fault = f"{path} is not UTF-8 text (byte {error.start}): save it as such"
        raise FeatnormError(fault) from error


def read_text(path: PathLike) -> str:
    """Read UTF-8 text; a byte-order mark, as Windows' editors put before it, is no part of it.

    Ends of lines stay what they are.

    Raises:
        FeatnormError: it cannot be read or is no such text.
    """
    with reading(path):
        return Path(path).read_bytes().decode("utf-8-sig")


def sha256_file(path: PathLike) -> str:
    """Return the SHA-256 of a file's bytes as 64 hex digits.

    Raises:
        FeatnormError: the file cannot be read.
    """
    with reading(path), open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def read_json(path: PathLike) -> Any:
    """Read a JSON file.

    Raises:
        FeatnormError: it cannot be read or is no JSON.
    """
    try:
        return json.loads(read_text(path))
    except ValueError as error:
        raise FeatnormError(f"{path} is no JSON: {error}") from error


@contextmanager
def locked(path: PathLike, wait: bool = False, named: Path | None = None) -> Iterator[None]:
    """Hold the right to write a file or folder; a killed process holds it no longer.

    On a file system without locks nothing is held: a warning says so.

    Args:
        path: what is written; the lock is a hidden file beside it. For a folder name a file in it:
            what is around it, as around a mounted one, may not be writable.
        wait: wait until another run has finished with it, instead of refusing.
        named: what is written, where ``path`` is but the place of the lock.

    Raises:
        FeatnormError: another run is writing it.
    """
    from filelock import FileLock, Timeout

    target = Path(path).absolute()
    what = named or target
    lock = FileLock(target.with_name(f".{target.name}.lock"))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout as error:
        if not wait:
            raise FeatnormError(f"another run is writing {what}: wait for it") from error
        say(f"waiting for another run that writes {what}")
        lock.acquire(timeout=-1)
    except (NotImplementedError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in (errno.ENOLCK, errno.ENOTSUP):
            raise FeatnormError(f"cannot write {what}: {error.strerror or error}") from error
        say(f"warning: {what} cannot be locked: let no second run write it")
    try:
        yield
    finally:
        lock.release()


@contextmanager
def replaced_folder(folder: PathLike) -> Iterator[Path]:
    """Give an empty folder beside ``folder``; put it in its place when the block ends well.

    What a killed run left beside it is removed first, so hold ``locked(folder)``.
    """
    target = Path(folder).absolute()
    fresh, stale = (target.with_name(f".{target.name}.{kind}") for kind in ("new", "old"))

    def clear() -> None:
        if stale.exists() and not target.exists():  # the second rename failed, or was never reached
            stale.rename(target)
        for leftover in (fresh, stale):
            shutil.rmtree(leftover, ignore_errors=True)

    clear()
    fresh.mkdir(parents=True)
    try:
        yield fresh
        if target.exists():
            target.rename(stale)
        fresh.rename(target)
    finally:
        clear()


def is_done(output: Path, request: Mapping[str, Any]) -> bool:
    """Whether ``output`` is there, whole, and was made by a request that says the same.

    This is the one answer for all stages. The request is what a file or folder is to be made of, in
    plain values that JSON holds: its options, and the ``stamp`` of its inputs. What the record says
    beside them does not count.
    """
    made = read_record(output)
    whole = output.exists() and made.get("bytes") in (None, _size(output))
    return whole and {**made, **json.loads(json.dumps(request))} == made


def read_record(output: Path) -> dict[str, Any]:
    """Return the request that ``output`` was made by; empty where none can be read."""
    with suppress(OSError, ValueError):
        return dict(json.loads(_record(output).read_text(encoding="utf-8")))
    return {}


def mark_done(output: Path, request: Mapping[str, Any]) -> None:
    """Record that ``output`` is whole (with ``bytes`` null: will be), and by which request."""
    write_json(_record(output), {"bytes": _size(output), **request})


def _size(output: Path) -> int | None:
    return output.stat().st_size if output.is_file() else None


def stamp(paths: Iterable[PathLike]) -> str:
    """Return a hash of files' names, sizes and times: another one, older too, has another.

    Take it before the work, so that a file that changes meanwhile does not pass for the one read.
    A place in an archive counts by the archive, what is no file (a command) by its name.
    """
    found: list[Any] = []
    for path in paths:
        with suppress(OSError):
            status = os.stat(path if os.path.exists(path) else os.fspath(path).rpartition(":")[0])
            found.append((status.st_size, status.st_mtime_ns))
        found.append(os.fspath(path))
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()


def _record(output: Path) -> Path:
    if output.is_dir():
        return output / ".done.json"
    long = len(os.fsencode(output.name)) > 244  # with what is put around it, 255 at most
    return output.with_name(f".{short_hash(output.name) if long else output.name}.done.json")


def short_hash(name: PathLike) -> str:
    """Return 12 digits that stand for a name, where it would be too long or no name of a file."""
    return hashlib.sha256(os.fsencode(name)).hexdigest()[:12]
