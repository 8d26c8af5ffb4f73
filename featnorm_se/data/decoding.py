"""Which files are audio, and what libsndfile does not read: formats of phones, bad headers."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from featnorm_se.errors import FeatnormError, say
from featnorm_se.files import reading

# What counts as audio wherever a folder is looked through.
AUDIO_SUFFIXES = (
    (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au", ".snd")
    + (".caf", ".w64", ".rf64", ".sph", ".nist")
)  # fmt: skip
# By ffmpeg, or by PyAV (the package av), where one of them is installed.
DECODED_SUFFIXES = (".m4a", ".mp4", ".m4b", ".aac", ".wma", ".3gp", ".amr", ".webm", ".mkv", ".mov")
DECODERS = "ffmpeg or PyAV (pip install av)"


def walk_audio(folder: Path, leave_out: Path | None = None) -> list[Path]:
    """Find a folder's audio files, sorted; one line on stderr counts the files passed over.

    Hidden ones and the folder ``leave_out`` do not count. A link to a folder above is not followed;
    a link to itself is taken for a file, to be reported as a bad one.
    """
    decoder = shutil.which("ffmpeg") or find_spec("av")
    endings = AUDIO_SUFFIXES + (DECODED_SUFFIXES if decoder else ())
    found: list[Path] = []
    others: Counter[str] = Counter()

    def look(place: Path, above: tuple[Path, ...]) -> None:
        real = place.resolve()
        if real in above or (leave_out and real == leave_out.resolve()):
            return
        for entry in sorted(place.iterdir()):
            if entry.name.startswith("."):
                continue
            if os.path.isdir(entry):
                look(entry, (*above, real))
            elif entry.suffix.lower() in endings:
                found.append(entry)
            else:
                others[entry.suffix.lower() or entry.name] += 1

    look(folder, ())
    if others:
        listed = ", ".join(f"{count} {ending}" for ending, count in others.most_common(5))
        mend = f"; some need {DECODERS}" if others.keys() & set(DECODED_SUFFIXES) else ""
        say(f"{folder}: files passed over, which do not end like audio: {listed}{mend}")
    return found


@contextmanager
def playable(source: Any) -> Iterator[Any]:
    """Give what libsndfile opens in place of a path, a copy if need be; all else as it is.

    Raises:
        FeatnormError: the file cannot be decoded, or there is nothing to decode it.
    """
    decoded = isinstance(source, str) and source.lower().endswith(DECODED_SUFFIXES)
    place = _missing_size(source) if isinstance(source, str) and not decoded else None
    if not decoded and place is None:
        yield source
        return
    with tempfile.NamedTemporaryFile(suffix=".wav") as copy:
        if place is None:
            _decode(source, copy.name)
        else:  # the largest size stands for all that follows
            shutil.copyfile(source, copy.name)
            os.pwrite(copy.fileno(), b"\xff" * 4, place)
        yield copy.name


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


def _missing_size(path: str) -> int | None:
    """Return where a WAV or AU file says 0 for its size though samples follow.

    What looks like another chunk is no audio: then the file is empty.
    """
    with reading(path), open(path, "rb") as handle:
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
