"""Kaldi's scp files, ``<key> <value>`` a line, and what a value may be besides a path."""

from __future__ import annotations

import io
import os
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from featnorm_se.errors import FeatnormError
from featnorm_se.files import write_text

# What kaldiio would also read at an offset runs code (pickle) or has no sampling rate (matrices).
_AUDIO_MARKS = (b"RIFF", b"fLaC", b"AUDIO")


def read_scp(path: str | os.PathLike[str]) -> dict[str, str]:
    """Read an scp (or utt2spk) file.

    Args:
        path: the file; each line is a key, white space, and a value that may hold spaces.

    Returns:
        The values by key, in the file's order.

    Raises:
        FeatnormError: the file is missing, empty or not UTF-8, a line has no value, or a key
            cannot be used or comes twice; the message names the file and the line.
    """
    try:
        # No other line ends than these: a value may hold what other programs take for one.
        text = Path(path).read_bytes().decode("utf-8").replace("\r\n", "\n")
    except OSError as error:
        raise FeatnormError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise FeatnormError(f"{path} is not UTF-8 text (byte {error.start})") from error
    entries: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        key, *values = line.split(maxsplit=1)
        check_key(key, f"{path} line {number}")
        if not values:
            raise FeatnormError(f"{path} line {number}: {key!r} has a key but no value")
        if key in entries:
            raise FeatnormError(f"{path} line {number}: the key {key!r} comes twice")
        entries[key] = values[0].strip()
    if not entries:
        raise FeatnormError(f"{path} is empty: run stage 1 again")
    return entries


def write_scp(path: str | os.PathLike[str], entries: Mapping[str, str]) -> None:
    """Write ``entries`` sorted by key (as C sorts bytes), whole or not at all.

    Raises:
        FeatnormError: Kaldi's files cannot carry a key or a value.
    """
    for key, value in entries.items():
        check_key(key, str(path))
        if value != value.strip() or not value.isprintable() or not value:
            raise FeatnormError(f"{key}: the value {value!r} cannot stand in a Kaldi scp file")
    keys = sorted(entries, key=str.encode)
    write_text(path, "".join(f"{key} {entries[key]}\n" for key in keys))


def check_key(key: str, where: str) -> None:
    """Refuse a name of an utterance that Kaldi's files, or the names of ours, cannot carry.

    Args:
        key: it becomes the name of a file, perhaps below a folder of its own.
        where: what messages call the place.

    Raises:
        FeatnormError: it has white space or an odd character, or leads out of a folder.
    """
    if key.split() != [key] or not key.isprintable():
        raise FeatnormError(
            f"{where}: the utterance name {key!r} has white space or an odd character: rename its"
            " file"
        )
    if key.startswith("/") or ".." in key.split("/"):
        raise FeatnormError(f"{where}: the utterance name {key!r} leads out of a folder: rename it")


def list_enhanced(keys: Iterable[str], output: Path) -> None:
    """Write ``output/spk1.scp`` with every enhanced utterance.

    Raises:
        FeatnormError: one is missing; the message says how many are.
    """
    files = {key: output / "wav" / f"{key}.wav" for key in keys}
    missing = [key for key, path in files.items() if not path.is_file()]
    if missing:
        raise FeatnormError(
            f"{len(missing)} of {len(files)} utterances were not enhanced, {missing[0]} first:"
            " run stage 4 again"
        )
    write_scp(output / "spk1.scp", {key: os.path.abspath(path) for key, path in files.items()})


def is_command(value: str | os.PathLike[str]) -> bool:
    """Whether an scp's value is a Kaldi pipe, ``command |``."""
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
        FeatnormError: there is no such archive, or no whole audio at that place.
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
                f"{where} is no audio in a Kaldi archive (it starts with {mark[:5]!r}): make the"
                " archive anew, or give files"
            )
        # kaldiio reads what there is of a cut wav without a word.
        if mark.startswith(b"RIFF") and offset + int.from_bytes(mark[4:], "little") > end:
            raise FeatnormError(f"{where} is cut short: copy the archive again")
        import kaldiio

        # An absolute name that ends in no | cannot be taken for a command.
        rate, samples = kaldiio.load_mat(f"{file.absolute()}:{offset}")
    except OSError as error:
        raise FeatnormError(f"cannot read {where}: {error.strerror or error}") from error
    except (ValueError, EOFError, RuntimeError, AssertionError, MemoryError, LookupError) as error:
        raise FeatnormError(f"{where} is no whole audio: {' '.join(str(error).split())}") from error
    if samples.dtype == np.uint8:
        raise FeatnormError(f"{where} has 8-bit samples: 16 bits or more are wanted")
    if np.issubdtype(samples.dtype, np.integer):
        samples = samples / float(-np.iinfo(samples.dtype).min)
    return np.asarray(samples, dtype=np.float32).reshape(len(samples), -1), int(rate)


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
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["no message"]
        raise FeatnormError(f"the command {command!r} fails ({done.returncode}): {last[0]}")
    try:
        samples, rate = soundfile.read(io.BytesIO(done.stdout), dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise FeatnormError(f"the command {command!r} prints no audio: {error}") from error
    return samples, int(rate)
