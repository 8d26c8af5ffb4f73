"""Kaldi's scp files, ``<key> <value>`` a line, and what a value may be besides a path."""

import io
import os
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from featnorm_se.errors import FeatnormError
from featnorm_se.files import PathLike, read_record, read_text, reading, write_text


def read_scp(path: PathLike) -> dict[str, str]:
    """Read an scp (or utt2spk) file, a key and a value that may hold spaces a line, in its order.

    Raises:
        FeatnormError: the file is missing, empty or not UTF-8, a line has no value, or a key
            cannot be used or comes twice; the message names the file and the line.
    """
    # No other line ends than these: a value may hold what other programs take for one.
    text = read_text(path).replace("\r\n", "\n")
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


def write_scp(path: PathLike, entries: Mapping[str, str]) -> None:
    """Write ``entries`` sorted by key (as C sorts bytes), whole or not at all.

    Raises:
        FeatnormError: Kaldi's files cannot carry a key or a value.
    """
    for key, value in entries.items():
        check_key(key, str(path))
        if value != value.strip() or not value.isprintable() or not value:
            raise FeatnormError(f"{key}: the value {value!r} cannot stand in a Kaldi scp file")
    write_text(path, "".join(f"{key} {entries[key]}\n" for key in sorted(entries, key=str.encode)))


def check_key(key: str, where: str) -> None:
    """Refuse a name of an utterance that Kaldi's files, or the names of ours, cannot carry.

    Raises:
        FeatnormError: it has white space or an odd character, or leads out of a folder.
    """
    if key.split() != [key] or not key.isprintable():
        fault = f"{where}: the utterance name {key!r} has white space or an odd character"
        raise FeatnormError(f"{fault}: rename its file")
    if key.startswith("/") or ".." in key.split("/"):
        raise FeatnormError(f"{where}: the utterance name {key!r} leads out of a folder: rename it")


def is_command(value: PathLike) -> bool:
    """Whether an scp's value is a Kaldi pipe, ``command |``."""
    text = os.fspath(value).strip()
    return text.endswith("|") or text.startswith("|")


def split_archive(value: PathLike) -> tuple[Path, int] | None:
    """Return file and offset in bytes of ``file.ark:123``; ``None`` for anything else.

    A file whose own name ends like that is a plain path.
    """
    text = os.fspath(value)
    file, colon, offset = text.rpartition(":")
    if not (colon and file and offset.isdecimal()) or is_command(text) or os.path.isfile(text):
        return None
    return Path(file), int(offset)


def open_value(value: PathLike, allow_pipes: bool = False) -> str | io.BytesIO:
    """Return what an audio library can open: a path, or the bytes of a file within or from another.

    Args:
        value: a path, a place in a Kaldi archive (``file.ark:123``), or ``command |``.
        allow_pipes: run a command, with the shell; only where the user has said so.

    Raises:
        FeatnormError: there is no such file, no whole audio at the place, or the command fails or
            is not allowed. Its cause is an OSError where the system does not give the file.
    """
    if is_command(value):
        if not allow_pipes:
            mend = "prepare the data from the scp with stage 1 and --allow_pipes true"
            raise FeatnormError(f"{os.fspath(value)!r} is a command, which is not run here: {mend}")
        return io.BytesIO(_output(os.fspath(value)))
    place = split_archive(value)
    if place:
        return io.BytesIO(_archived(*place))
    if not os.path.isfile(value):
        if os.path.exists(value):  # as <(command) is
            raise FeatnormError(f"{value} is no file: pipe it (INPUT -), or write it to one")
        raise FeatnormError(f"no such audio file: {value} (if stage 1 made it: run that)")
    with reading(value), open(value, "rb"):  # else libsndfile takes it for no audio
        return os.fspath(value)


def _archived(file: Path, offset: int) -> bytes:
    """Return the audio file that lies in an archive at ``offset``.

    It is not read by kaldiio, which would run code there (pickle) and take names for commands.
    """
    where = f"{file}:{offset}"
    with reading(where), open(file, "rb") as handle:
        handle.seek(offset)
        mark = handle.read(8)
        size = os.fstat(handle.fileno()).st_size
        begin, length = offset, size - offset
        if mark.startswith(b"RIFF"):
            length = 8 + int.from_bytes(mark[4:], "little")
        elif mark.startswith(b"AUDIO"):  # kaldiio's own: how many bytes the length has, itself
            handle.seek(offset + 6)
            length = int.from_bytes(handle.read(int.from_bytes(mark[5:6])), "little")
            begin = handle.tell()
        elif not mark.startswith(b"fLaC"):
            fault = f"{where} is no audio in a Kaldi archive (it starts with {mark[:5]!r})"
            raise FeatnormError(f"{fault}: make the archive anew, or give files")
        if begin + length > size:
            raise FeatnormError(f"{where} is cut short: copy the archive again")
        handle.seek(begin)
        return handle.read(length)


def _output(value: str) -> bytes:
    """Return what a Kaldi pipe, ``command |``, prints."""
    command = value.strip().removesuffix("|").strip()
    shell = ["bash", "-c", f"set -o pipefail; {command}"]
    done = subprocess.run(shell, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["no message"]
        raise FeatnormError(f"the command {command!r} fails ({done.returncode}): {last[0]}")
    return done.stdout


def enhanced_by(files: Iterable[str]) -> list[dict[str, Any]]:
    """Return what files were enhanced with, weights and settings, each once; of others nothing."""
    found: list[dict[str, Any]] = []
    for path in files:
        record = read_record(Path(path))
        of_each = ("source", "from", "versions", "bytes", "subtype")
        made = {key: value for key, value in record.items() if key not in of_each}
        if "model" in made and made not in found:
            found.append(made)
    return found
