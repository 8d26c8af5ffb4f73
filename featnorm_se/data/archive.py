"""Zip files of a corpus: checked, and unpacked flat into one folder, whole or not at all."""

from __future__ import annotations

import shutil
import sys
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

from featnorm_se.data.audio import AUDIO_SUFFIXES
from featnorm_se.done import is_done, mark_done
from featnorm_se.errors import FeatnormError
from featnorm_se.files import locked, replaced_folder

_BLOCK = 1 << 20


def unpacked_folder(root: Path, name: str, unpack_dir: Path) -> Path:
    """Return ``root/name``, or where ``root/name.zip`` is unpacked to when there is no such folder.

    Raises:
        FeatnormError: neither is there, or the zip file is cut.
    """
    if (root / name).is_dir():
        return root / name
    if (root / f"{name}.zip").is_file():
        return unpack(root / f"{name}.zip", unpack_dir / name, AUDIO_SUFFIXES)
    raise FeatnormError(
        f"no such folder: {root / name}, and no {name}.zip there: give the folder that holds it"
        " with --db_root"
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
        FeatnormError: the zip is cut or damaged, or holds a name twice or no such file.
    """
    request = {"zip": str(path.absolute()), "size": path.stat().st_size}
    with locked(target):
        if is_done(target, request, [path]):
            return target
        try:
            with zipfile.ZipFile(path) as zipped, replaced_folder(target) as folder:
                members = _members(path, zipped, suffixes)
                print(f"unpacking {path}: {len(members)} files", file=sys.stderr, flush=True)
                for name, member in members.items():
                    with zipped.open(member) as source, open(folder / name, "wb") as sink:
                        shutil.copyfileobj(source, sink, _BLOCK)
        # RuntimeError: it is encrypted.
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
            raise FeatnormError(
                f"{path} is no whole zip file ({error}): fetch or copy it again"
            ) from error
        mark_done(target, request)
    return target


def _members(
    path: Path, zipped: zipfile.ZipFile, suffixes: Sequence[str]
) -> dict[str, zipfile.ZipInfo]:
    """Return what is to be unpacked, by plain file name: no name can lead out of the target."""
    found: dict[str, zipfile.ZipInfo] = {}
    for member in zipped.infolist():
        *folders, name = member.filename.replace("\\", "/").split("/")
        hidden = "__MACOSX" in folders or name.startswith(".")
        if hidden or not name.lower().endswith(tuple(suffixes)):
            continue
        if name in found:
            raise FeatnormError(f"{path} is not unpacked: the name {name} comes twice in it")
        found[name] = member
    if not found:
        raise FeatnormError(f"{path} holds no file that ends in {' or '.join(suffixes)}")
    return found
