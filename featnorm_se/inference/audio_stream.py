"""Audio files of any length, read and written in blocks, with what their headers say."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from featnorm_se.data.audio import AUDIO_SUFFIXES, FloatArray, check_whole
from featnorm_se.errors import FeatnormError
from featnorm_se.files import atomic_path

_FORMAT_OF = {
    "OGA": "OGG",
    "OPUS": "OGG",
    "AIF": "AIFF",
    "AIFC": "AIFF",
    "SND": "AU",
    "SPH": "NIST",
}
_UNBOUNDED = ("FLOAT", "DOUBLE")  # sample formats that hold values beyond full scale
_BLOCK = 1 << 16  # samples a channel read at a time


@dataclass(frozen=True)
class Header:
    """What a file's header says.

    Attributes:
        frames: samples of a channel.
        sample_rate: in Hz.
        channels: their number.
        format, subtype, endian: libsndfile's names of the container, sample format, byte order.
        texts: title, artist, comment and so on.
    """

    frames: int
    sample_rate: int
    channels: int
    format: str
    subtype: str
    endian: str
    texts: dict[str, str]


class AudioInput:
    """An audio file that can be read several times, in blocks.

    Args:
        path: the file.
        name: what messages call it; ``None``: the path.

    Raises:
        FeatnormError: there is no such file, libsndfile does not read it, or it is empty or
            cut short.
    """

    def __init__(self, path: Path, name: str | None = None) -> None:
        import soundfile

        self.path = path
        self.name = str(path) if name is None else name
        if not path.is_file():
            link = path.is_symlink()
            raise FeatnormError(
                f"{self.name} is a link that leads to no file"
                if link
                else f"no such audio file: {self.name}"
            )
        if not path.stat().st_size:
            raise FeatnormError(f"{self.name} is empty: it has no bytes")
        try:
            with soundfile.SoundFile(path) as handle:
                self.header = Header(
                    int(handle.frames),
                    int(handle.samplerate),
                    int(handle.channels),
                    str(handle.format),
                    str(handle.subtype),
                    str(handle.endian),
                    handle.copy_metadata(),
                )
                log = str(handle.extra_info)
        except (RuntimeError, TypeError, OSError) as error:  # TypeError: a headerless .raw
            raise FeatnormError(
                f"{self.name} is no audio that libsndfile reads: {_told(error)}"
            ) from error
        if self.header.frames < 1:
            raise FeatnormError(f"{self.name} has no samples")
        check_whole(self.name, log)

    def blocks(self) -> Iterator[FloatArray]:
        """Read from the beginning: (n, channels) float32 blocks, n at most 65,536.

        Raises:
            FeatnormError: the file is cut short or holds NaN or infinite samples.
        """
        import soundfile

        left = self.header.frames
        try:
            with soundfile.SoundFile(self.path) as handle:
                while left:
                    block = handle.read(min(left, _BLOCK), dtype="float32", always_2d=True)
                    if not len(block):
                        raise FeatnormError(
                            f"{self.name} is cut short: its header promises"
                            f" {self.header.frames} samples, {left} of them are missing"
                        )
                    if not np.isfinite(block).all():
                        raise FeatnormError(f"{self.name} holds NaN or infinite samples")
                    left -= len(block)
                    yield block
        except (RuntimeError, OSError) as error:
            raise FeatnormError(f"{self.name} cannot be read to its end: {_told(error)}") from error


def _told(error: Exception) -> str:
    """What libsndfile has to say, without the name that it adds."""
    return str(getattr(error, "error_string", error))


class AudioOutput:
    """What ``audio_output`` gives: takes blocks, counts what is clipped."""

    def __init__(self, handle: Any, name: str) -> None:
        self._handle = handle
        self._name = name
        self.clipped = 0

    def write(self, block: FloatArray) -> None:
        """Write (n, channels); samples beyond full scale are clipped and counted.

        Raises:
            FeatnormError: the disk is full, or the like.
        """
        if self._handle.subtype not in _UNBOUNDED:
            self.clipped += int((np.abs(block) > 1.0).sum())
            block = np.clip(block, -1.0, 1.0)
        try:
            self._handle.write(block)
        except (RuntimeError, OSError, AssertionError) as error:
            # soundfile asserts, with no text, that all samples were written.
            raise FeatnormError(f"cannot write {self._name} (disk full?): {error}") from error


@contextmanager
def audio_output(path: Path, header: Header) -> Iterator[AudioOutput]:
    """Write a file like another one, whole or not at all.

    The container goes by the name's ending; with the ending of the other's container it is the
    same. The sample format is kept where the container has it, and so are the texts.

    Args:
        path: the file to write.
        header: of the file that it is to be like.

    Raises:
        FeatnormError: no such container, or the file cannot be written.
    """
    import soundfile

    container, subtype = choose_format(path, header)
    with atomic_path(path) as temporary:
        temporary.touch()  # or libsndfile would only say "system error"
        try:
            handle = soundfile.SoundFile(
                temporary,
                "w",
                header.sample_rate,
                header.channels,
                subtype,
                header.endian if container == header.format else None,
                container,
            )
        except (RuntimeError, ValueError, OSError) as error:
            raise FeatnormError(
                f"cannot write {path} ({container}, {subtype}): {_told(error)}"
            ) from error
        with handle:
            for name, text in header.texts.items():
                with suppress(RuntimeError):  # containers differ in which texts they have
                    setattr(handle, name, text)
            yield AudioOutput(handle, str(path))


def check_ending(path: Path) -> str:
    """Return libsndfile's container for a file's name.

    Raises:
        FeatnormError: there is none of this ending.
    """
    import soundfile

    ending = path.suffix[1:].upper()
    container = _FORMAT_OF.get(ending, ending)
    if container not in soundfile.available_formats():
        what = f"there is no format {path.suffix!r}" if ending else "its name has no ending"
        known = " ".join(sorted(AUDIO_SUFFIXES))
        raise FeatnormError(f"cannot write {path}: {what}; give one of {known}")
    return container


def choose_format(path: Path, header: Header) -> tuple[str, str]:
    """Return the container and the sample format for a file's name.

    Raises:
        FeatnormError: libsndfile has no container of this name's ending.
    """
    import soundfile

    ending = path.suffix[1:].upper()
    container = check_ending(path)
    if container == header.format or container in _ALIKE.get(header.format, ()):
        container = header.format
    if soundfile.check_format(container, header.subtype):
        return container, header.subtype
    if ending == "OPUS":
        return container, "OPUS"
    return container, str(soundfile.default_subtype(container))


# Containers that go by another one's ending.
_ALIKE = {"WAVEX": ("WAV",), "RF64": ("WAV",), "W64": ("WAV",), "NIST": ("WAV",)}
