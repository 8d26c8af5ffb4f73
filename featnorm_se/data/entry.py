"""What an scp's value may be besides a path: a place in a Kaldi archive, or a command."""

from __future__ import annotations

import io
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featnorm_se.errors import FeatnormError

# What kaldiio would also read at an offset runs code (pickle) or has no sampling rate (matrices).
_AUDIO_MARKS = (b"RIFF", b"fLaC", b"AUDIO")


def is_command(value: str | os.PathLike[str]) -> bool:
    """Tell whether an scp's value is a Kaldi pipe, ``command |``."""
    text = os.fspath(value).strip()
    return text.endswith("|") or text.startswith("|")


def split_archive(value: str | os.PathLike[str]) -> tuple[Path, int] | None:
    """Return file and offset in bytes of ``file.ark:123``; ``None`` for anything else.

    A file whose own name ends like that is a plain path.
    """
    text = os.fspath(value)
    file, colon, offset = text.rpartition(":")
    if not (colon and file and offset.isdecimal()) or is_command(text) or os.path.isfile(text):
        return None
    return Path(file), int(offset)


def read_archive(file: Path, offset: int) -> tuple[NDArray[np.float32], int]:
    """Read one entry of a Kaldi archive of audio, through kaldiio.

    Args:
        file: the archive.
        offset: where the entry's audio starts, in bytes.

    Returns:
        The samples, shape (N, channels) in [-1, 1], and the rate in Hz.

    Raises:
        FeatnormError: there is no such archive, or no audio at that place.
    """
    where = f"{file}:{offset}"
    if is_command(file):
        raise FeatnormError(f"{where}: kaldiio would run the archive's name: rename it")
    try:
        with open(file, "rb") as handle:
            handle.seek(offset)
            mark = handle.read(8)
            end = handle.seek(0, os.SEEK_END)
            if not mark.startswith(_AUDIO_MARKS):
                raise FeatnormError(
                    f"{where} is no audio in a Kaldi archive (it starts with {mark[:5]!r}): make"
                    " the archive anew, or give files"
                )
            # kaldiio reads what there is of a cut wav without a word.
            if mark.startswith(b"RIFF") and offset + int.from_bytes(mark[4:], "little") > end:
                raise FeatnormError(f"{where} is cut short: copy the archive again")
            import kaldiio

            # An absolute name that ends in no | cannot be taken for a command.
            loaded = kaldiio.load_mat(f"{file.absolute()}:{offset}")
    except OSError as error:
        raise FeatnormError(f"cannot read {where}: {error.strerror or error}") from error
    except (ValueError, EOFError, RuntimeError, AssertionError, MemoryError, LookupError) as error:
        raise FeatnormError(f"{where} is no whole audio: {' '.join(str(error).split())}") from error
    rate, samples = loaded
    return _as_float(where, samples), int(rate)


def run_command(value: str) -> tuple[NDArray[np.float32], int]:
    """Run a Kaldi pipe with the shell and read the audio that it prints.

    Only call this when the user has said that commands of the scp may run.

    Args:
        value: ``command |``.

    Returns:
        The samples, shape (N, channels) in [-1, 1], and the rate in Hz.

    Raises:
        FeatnormError: the command fails or prints no audio.
    """
    import soundfile

    command = value.strip().removesuffix("|").strip()
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, check=False
    )
    if done.returncode:
        told = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["no message"]
        raise FeatnormError(f"the command {command!r} fails ({done.returncode}): {told[0]}")
    try:
        samples, rate = soundfile.read(io.BytesIO(done.stdout), dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise FeatnormError(f"the command {command!r} prints no audio: {error}") from error
    return samples, int(rate)


def _as_float(where: str, samples: Any) -> NDArray[np.float32]:
    """Bring integer samples to [-1, 1]; shape (N, channels)."""
    if samples.dtype == np.uint8:
        raise FeatnormError(f"{where} has 8-bit samples: 16 bits or more are wanted")
    if np.issubdtype(samples.dtype, np.integer):
        samples = samples / float(-np.iinfo(samples.dtype).min)
    return np.asarray(samples, dtype=np.float32).reshape(len(samples), -1)
