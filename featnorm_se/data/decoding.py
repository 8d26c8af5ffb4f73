"""Which files are audio, and the formats of phones, which libsndfile does not read."""

import os
import re
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from featnorm_se.errors import FeatnormError, say

# What counts as audio wherever a folder is looked through.
AUDIO_SUFFIXES = (
    (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au", ".snd")
    + (".caf", ".w64", ".rf64", ".sph", ".nist")
)  # fmt: skip
# By ffmpeg, where it is installed.
DECODED_SUFFIXES = (".m4a", ".mp4", ".m4b", ".aac", ".wma", ".3gp", ".amr", ".webm", ".mkv", ".mov")
NO_LENGTH = "has no length in its header: install ffmpeg, or convert it to wav"

_say_once = cache(say)  # a file is opened several times


def walk_audio(folder: Path, leave_out: Path | None = None) -> list[Path]:
    """Find a folder's audio files, sorted; one line on stderr counts the files passed over.

    Hidden ones and the folder ``leave_out`` do not count. A link to a folder above is not followed;
    a link to itself is taken for a file, to be reported as a bad one.
    """
    endings = AUDIO_SUFFIXES + (DECODED_SUFFIXES if shutil.which("ffmpeg") else ())
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
        mend = "; some need ffmpeg" if others.keys() & set(DECODED_SUFFIXES) else ""
        say(f"{folder}: files passed over, which do not end like audio: {listed}{mend}")
    return found


def _tells_length(path: str) -> bool:
    """Whether the header has a length; MP3 and FLAC that were written to a pipe may have none."""
    with suppress(OSError), open(path, "rb") as file:
        head = file.read(26)
        if head.startswith(b"fLaC"):
            return int.from_bytes(head[18:26], "big") % (1 << 36) > 0
        # The size of ID3's tags is in four times 7 bits.
        size = int("".join(f"{byte:07b}" for byte in head[6:10]) or "0", 2)
        file.seek(10 + size if head.startswith(b"ID3") else 0)
        frame = file.read(2048)
        if len(frame) > 1 and frame[0] == 0xFF and frame[1] & 0xE6 == 0xE2:  # MPEG's layer 3
            return any(name in frame for name in (b"Xing", b"Info", b"VBRI"))
    return True


@contextmanager
def playable(source: Any) -> Iterator[Any]:
    """Give what libsndfile opens in place of a path, a copy if need be; all else as it is.

    Raises:
        FeatnormError: the file cannot be decoded, or there is nothing to decode it.
    """
    if not isinstance(source, str):
        yield source
        return
    known = source.lower().endswith(DECODED_SUFFIXES)
    if not known and _tells_length(source):
        yield os.fsencode(source)  # soundfile would write a name of Latin-1 letters as UTF-8
        return
    if not (ffmpeg := shutil.which("ffmpeg")):
        fault = "is no audio that libsndfile reads: install ffmpeg" if known else NO_LENGTH
        raise FeatnormError(f"{source} {fault}")
    with tempfile.NamedTemporaryFile(suffix=".wav") as copy:
        # The first sound track, as int16.
        command = [ffmpeg, "-v", "error", "-y", "-i", f"file:{source}", "-vn", "-c:a", "pcm_s16le"]
        quiet: dict[str, Any] = {"stdin": subprocess.DEVNULL, "capture_output": True}
        done = subprocess.run([*command, copy.name], check=False, **quiet)
        message = re.sub(" @ 0x[0-9a-f]+", "", done.stderr.decode(errors="replace"))
        reason = " ".join(message.split())[-200:]
        if done.returncode:
            raise FeatnormError(f"{source} cannot be decoded: {reason}")
        if reason:
            _say_once(f"warning: {source} is used, but ffmpeg says: {reason}")
        yield copy.name
