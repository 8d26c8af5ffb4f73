"""Kaldi's scp files: one ``<key> <value>`` a line, sorted by key."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from featnorm_se.errors import FeatnormError
from featnorm_se.files import write_text


def read_scp(path: str | os.PathLike[str]) -> dict[str, str]:
    """Read an scp (or utt2spk) file.

    Args:
        path: the file; each line is a key, white space, and a value that may hold spaces.

    Returns:
        The values by key, in the file's order.

    Raises:
        FeatnormError: the file is missing, empty or not UTF-8, a line has no value, or a key
            comes twice; the message names the file and the line.
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
        parts = line.split(maxsplit=1)
        if len(parts) != 2:
            raise FeatnormError(f"{path} line {number}: {line.strip()!r} has a key but no value")
        key, value = parts[0], parts[1].strip()
        check_key(key, f"{path} line {number}")
        if not value.isprintable():
            raise FeatnormError(f"{path} line {number}: {value!r} has an odd character: rename it")
        if key in entries:
            raise FeatnormError(f"{path} line {number}: the key {key!r} comes twice")
        entries[key] = value
    if not entries:
        raise FeatnormError(f"{path} is empty: run stage 1 again")
    return entries


def write_scp(path: str | os.PathLike[str], entries: Mapping[str, str]) -> None:
    """Write ``entries`` sorted by key (as C sorts bytes), whole or not at all.

    Raises:
        FeatnormError: a key holds white space, or a value a line break: Kaldi's files cannot
            carry them.
    """
    for key, value in entries.items():
        check_key(key, str(path))
        if value != value.strip() or not value.isprintable() or not value:
            raise FeatnormError(f"{key}: the value {value!r} cannot stand in a Kaldi scp file")
    keys = sorted(entries, key=lambda key: key.encode())
    write_text(path, "".join(f"{key} {entries[key]}\n" for key in keys))


def check_key(key: str, where: str) -> None:
    """Refuse a name of an utterance that Kaldi's files, or the names of ours, cannot carry.

    Args:
        key: it becomes the name of a file, perhaps below a folder of its own.
        where: what messages call the place.

    Raises:
        FeatnormError: it has white space or an odd character, or leads out of a folder.
    """
    if not key or len(key.split()) != 1 or key.split()[0] != key:
        raise FeatnormError(f"{where}: the utterance name {key!r} has white space: rename its file")
    if not key.isprintable():
        raise FeatnormError(
            f"{where}: the utterance name {key!r} has an odd character: rename its file"
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
