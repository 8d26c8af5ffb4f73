"""Which files are audio, and the formats of phones, which libsndfile does not read."""

import os
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def playable(source: Any) -> Iterator[Any]:
    """Give what libsndfile opens in place of a path, a copy if need be; all else as it is.

    Raises:
        FeatnormError: the file cannot be decoded, or there is nothing to decode it.
    """
    if not (isinstance(source, str) and source.lower().endswith(DECODED_SUFFIXES)):
        # By its bytes: soundfile would write a name of Latin-1 letters as UTF-8.
        yield os.fsencode(source) if isinstance(source, str) else source
        return
    if not (ffmpeg := shutil.which("ffmpeg")):
        raise FeatnormError(f"{source} is no audio that libsndfile reads: install ffmpeg")
    with tempfile.NamedTemporaryFile(suffix=".wav") as copy:
        # The first sound track, as int16.
        command = [ffmpeg, "-v", "error", "-y", "-i", f"file:{source}", "-vn", "-c:a", "pcm_s16le"]
        quiet: dict[str, Any] = {"stdin": subprocess.DEVNULL, "capture_output": True}
        done = subprocess.run([*command, copy.name], check=False, **quiet)
        if done.returncode:
            reason = done.stderr.decode(errors="replace").strip()[-200:]
            raise FeatnormError(f"{source} cannot be decoded: {reason}")
        yield copy.name
