"""What libsndfile does not read as it is: headers without a size, formats of phones and films."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from featnorm_se.errors import FeatnormError

# By ffmpeg, or by PyAV (the package av), where one of them is installed.
DECODED_SUFFIXES = (".m4a", ".mp4", ".m4b", ".aac", ".wma", ".3gp", ".amr", ".webm", ".mkv", ".mov")
DECODERS = "ffmpeg or PyAV (pip install av)"


def has_decoder() -> bool:
    """Whether ``DECODED_SUFFIXES`` can be read."""
    return shutil.which("ffmpeg") is not None or find_spec("av") is not None


@contextmanager
def playable(source: Any) -> Iterator[Any]:
    """Give what libsndfile opens in place of a path; all else is given as it is.

    Raises:
        FeatnormError: the file cannot be decoded, or there is nothing to decode it.
    """
    if not isinstance(source, str):
        yield source
    elif source.lower().endswith(DECODED_SUFFIXES):
        with tempfile.NamedTemporaryFile(suffix=".wav") as wav:
            _decode(source, wav.name)
            yield wav.name
    elif (place := _missing_size(source)) is not None:
        with _SizedAudio(source, place) as handle:
            yield handle
    else:
        yield source


def _decode(path: str, wav: str) -> None:
    """Write the first sound track of a file as int16 WAV."""
    if ffmpeg := shutil.which("ffmpeg"):
        command = [ffmpeg, "-v", "error", "-y", "-i", f"file:{path}", "-vn", "-c:a", "pcm_s16le"]
        done = subprocess.run([*command, wav], capture_output=True, check=False)
        if done.returncode:
            reason = done.stderr.decode(errors="replace").strip()[-200:]
            raise FeatnormError(f"{path} cannot be decoded: {reason}")
        return
    if find_spec("av") is None:
        raise FeatnormError(f"{path} is no audio that libsndfile reads: install {DECODERS}")
    import av

    try:
        with av.open(path) as film, av.open(wav, "w", format="wav") as sound:
            track = film.streams.audio[0]
            encoder = sound.add_stream("pcm_s16le", rate=track.rate, layout=track.layout.name)
            for frame in film.decode(track):
                sound.mux(encoder.encode(frame))
            sound.mux(encoder.encode(None))
    except (av.FFmpegError, IndexError) as error:
        raise FeatnormError(f"{path} cannot be decoded: {error}") from error


class _SizedAudio(io.FileIO):
    """A file whose header has 0 for the size of the samples, as if it said: all that follow."""

    def __init__(self, path: str, place: int) -> None:
        super().__init__(path)
        self._place = place

    def readinto(self, buffer: Any) -> int:
        begin, count = self.tell(), super().readinto(buffer) or 0
        for at in range(max(begin, self._place), min(begin + count, self._place + 4)):
            memoryview(buffer).cast("B")[at - begin] = 0xFF
        return count


def _missing_size(path: str) -> int | None:
    """Return where a WAV or AU file says 0 for its size though samples follow.

    What looks like another chunk is no audio: then the file is empty.
    """
    with open(path, "rb") as handle:
        head = handle.read(12)
        if head[:4] == b".snd":
            return None if any(head[8:12]) else 8
        if head[:4] != b"RIFF" or head[8:] != b"WAVE":
            return None
        while len(chunk := handle.read(8)) == 8:
            size = int.from_bytes(chunk[4:], "little")
            if chunk[:4] == b"data":
                place, after = handle.tell() - 4, handle.read(8)
                left = os.fstat(handle.fileno()).st_size - handle.tell()
                other = after[:4].isascii() and after[:4].decode().isprintable()
                other = other and int.from_bytes(after[4:], "little") <= left
                return None if size or other or not after else place
            handle.seek(size + size % 2, os.SEEK_CUR)
    return None
