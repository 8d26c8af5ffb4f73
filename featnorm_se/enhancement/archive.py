"""A packed model: a zip of a few known files, read without unpacking and without trust."""

from __future__ import annotations

import zipfile
from pathlib import Path
from types import TracebackType
from typing import Any

from featnorm_se.errors import FeatnormError
from featnorm_se.files import atomic_path

WEIGHTS, CONFIG = "model.safetensors", "config.yaml"
# name: the most bytes that it may have unpacked
MEMBERS = {
    WEIGHTS: 16 << 30,
    CONFIG: 4 << 20,
    "clean_stats.npz": 64 << 20,
    "results.json": 16 << 20,
    "README.md": 4 << 20,
}
# Weights are noise to a packer; what shrinks more than this is a bomb.
_MOST_SHRUNK = 50


class Archive:
    """An open packed model.

    Args:
        path: the zip.

    Raises:
        FeatnormError: it is no zip, lacks the weights or the configuration, holds any other
            file than a packed model does (a path out of it, say), or one that is far too large
            once unpacked.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError) as error:
            raise FeatnormError(f"{path} is no packed model: {error}") from error
        try:
            self._check()
        except FeatnormError:
            self._zip.close()
            raise

    def _check(self) -> None:
        names = [info.filename for info in self._zip.infolist()]
        odd = sorted({name for name in names if name not in MEMBERS or names.count(name) > 1})
        if odd:
            raise FeatnormError(
                f"{self.path} is no packed model: it holds {odd[0]!r}, which none does (once)"
            )
        for name in (WEIGHTS, CONFIG):
            if name not in names:
                raise FeatnormError(f"{self.path} is no packed model: it holds no {name}")
        for info in self._zip.infolist():
            most = min(MEMBERS[info.filename], 65536 + _MOST_SHRUNK * info.compress_size)
            if info.file_size > most or info.flag_bits & 1:
                raise FeatnormError(
                    f"{self.path}: {info.filename} would be {info.file_size} bytes, no packed"
                    " model's is"
                )

    def read(self, name: str) -> bytes:
        """Return one file's bytes.

        Raises:
            FeatnormError: it is not there, or broken.
        """
        try:
            with self._zip.open(name) as handle:
                # No further than promised, whatever comes out.
                return handle.read(self._zip.getinfo(name).file_size)
        except KeyError as error:
            raise FeatnormError(f"{self.path} holds no {name}") from error
        except (zipfile.BadZipFile, OSError, EOFError, ValueError, NotImplementedError) as error:
            raise FeatnormError(f"{self.path}: {name} is broken: {error}") from error
        except Exception as error:  # zlib.error and the like have no common parent
            raise FeatnormError(f"{self.path}: {name} is broken: {error}") from error

    def __enter__(self) -> Archive:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._zip.close()


def write_archive(path: Path, members: dict[str, bytes]) -> None:
    """Write a packed model, whole or not at all; the same members give the same bytes.

    Raises:
        FeatnormError: the file cannot be written.
    """
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, data in members.items():
            info: Any = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.external_attr = 0o644 << 16
            archive.writestr(info, data)
