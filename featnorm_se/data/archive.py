"""Zip files of a corpus: checked, and unpacked flat into one folder, whole or not at all."""

from __future__ import annotations

import hashlib
import json
import shutil
import stat
import sys
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

from featnorm_se.errors import FeatnormError
from featnorm_se.files import locked, replaced_folder, write_json

_AUDIO = (".wav", ".flac")
# Speech as PCM shrinks to a half or so; a tenth of silence. A thousandth is a trap.
_MAX_RATIO = 100
_MOST_FILES = 200_000
_BLOCK = 1 << 20


def unpacked_folder(root: Path, name: str, unpack_dir: Path) -> Path:
    """Return ``root/name``, or where ``root/name.zip`` is unpacked to when there is no such folder.

    Raises:
        FeatnormError: neither is there, or the zip file is cut or unsafe.
    """
    if (root / name).is_dir():
        return root / name
    if (root / f"{name}.zip").is_file():
        return unpack(root / f"{name}.zip", unpack_dir / name, _AUDIO)
    raise FeatnormError(
        f"no such folder: {root / name}, and no {name}.zip there: give the folder that holds it"
    )


def unpacked_logs(root: Path, zip_name: str, logs: Sequence[str], unpack_dir: Path) -> Path:
    """Return the folder of the logs: ``root``, or where ``root/zip_name`` is unpacked to."""
    if any((root / log).is_file() for log in logs) or not (root / zip_name).is_file():
        return root
    return unpack(root / zip_name, unpack_dir / Path(zip_name).stem, (".txt",))


def unpack(path: Path, target: Path, suffixes: Sequence[str]) -> Path:
    """Unpack the files with one of the endings, without their folders, into ``target``.

    A target made from this very file is left as it is.

    Args:
        path: the zip file.
        target: the folder to make.
        suffixes: endings in lower case; other files are left in the zip.

    Returns:
        ``target``.

    Raises:
        FeatnormError: the zip is cut or damaged, a name leads out of the target or comes twice, it
            would unpack to a hundred times its size or more than the disk holds.
    """
    status = path.stat()
    made_of = {"zip": str(path.absolute()), "size": status.st_size, "mtime_ns": status.st_mtime_ns}
    record = target.with_name(f"{target.name}.json")
    with locked(target):
        if target.is_dir() and _read(record) == made_of:
            return target
        record.unlink(missing_ok=True)
        try:
            with zipfile.ZipFile(path) as zipped:
                members = _members(path, zipped, suffixes)
                total = sum(member.file_size for member in members.values())
                check_room(target.parent, total, f"unpacking {path}")
                print(f"unpacking {path}: {len(members)} files", file=sys.stderr, flush=True)
                with replaced_folder(target) as folder:
                    for name, member in members.items():
                        with zipped.open(member) as source, open(folder / name, "wb") as sink:
                            shutil.copyfileobj(source, sink, _BLOCK)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            raise FeatnormError(
                f"{path} is no whole zip file ({error}): fetch or copy it again"
            ) from error
        write_json(record, made_of)
    return target


def _read(record: Path) -> object:
    try:
        return json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _members(
    path: Path, zipped: zipfile.ZipFile, suffixes: Sequence[str]
) -> dict[str, zipfile.ZipInfo]:
    """Return what is to be unpacked, by plain file name, after checking every name in the zip."""
    found: dict[str, zipfile.ZipInfo] = {}
    total = 0
    if len(zipped.infolist()) > _MOST_FILES:
        raise FeatnormError(
            f"{path} is not unpacked: it holds {len(zipped.infolist())} files, more than"
            f" {_MOST_FILES}; this is not the official file"
        )
    for member in zipped.infolist():
        # orig_filename: zipfile itself cuts names at a zero byte.
        parts = member.orig_filename.replace("\\", "/").split("/")
        if parts[0] == "" or ".." in parts or "\0" in member.orig_filename or ":" in parts[0]:
            raise FeatnormError(
                f"{path} is not unpacked: the name {member.orig_filename!r} in it leads out of"
                " the folder; this is not the official file"
            )
        if stat.S_ISLNK(member.external_attr >> 16):
            raise FeatnormError(f"{path} is not unpacked: {member.filename!r} in it is a link")
        total += member.file_size
        name = parts[-1]
        if (
            "__MACOSX" in parts
            or name.startswith(".")
            or not name.lower().endswith(tuple(suffixes))
        ):
            continue
        if member.flag_bits & 1:
            raise FeatnormError(f"{path} is not unpacked: {member.filename!r} in it is encrypted")
        if name in found:
            raise FeatnormError(f"{path} is not unpacked: the name {name} comes twice in it")
        found[name] = member
    if total > _MAX_RATIO * max(path.stat().st_size, 1):
        raise FeatnormError(
            f"{path} is not unpacked: it would become {total / 1e9:.1f} GB, more than"
            f" {_MAX_RATIO} times its size; this is not the official file"
        )
    if not found:
        raise FeatnormError(f"{path} holds no file that ends in {' or '.join(suffixes)}")
    return found


def check_room(folder: Path, wanted: int, what: str) -> None:
    """Check that a disk has room for so many bytes.

    Raises:
        FeatnormError: it has not; the message says how much is missing.
    """
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free
    if wanted > free:
        raise FeatnormError(
            f"{what} needs {wanted / 1e9:.2f} GB in {folder}, {free / 1e9:.2f} GB are free: make"
            " room, or name another folder"
        )


def check_md5(path: Path, md5: str) -> None:
    """Check a file against its published MD5; what was found right is not read again.

    Raises:
        FeatnormError: the file is another one or is damaged.
    """
    status = path.stat()
    checked = {"md5": md5, "size": status.st_size, "mtime_ns": status.st_mtime_ns}
    record = path.with_name(f".{path.name}.checked.json")
    if _read(record) == checked:
        return
    with open(path, "rb") as handle:
        # MD5 is what the server publishes; it guards against damage, TLS against the rest.
        found = hashlib.file_digest(handle, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if found != md5:
        raise FeatnormError(
            f"{path} has the MD5 {found}, the official one is {md5}: remove it and run again"
        )
    write_json(record, checked)
