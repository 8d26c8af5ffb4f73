"""Kaldi's scp files: one ``<key> <value>`` a line, sorted by key."""

from __future__ import annotations

import os
from collections.abc import Mapping
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
        text = Path(path).read_text(encoding="utf-8")
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
        if not key or len(key.split()) != 1 or key.split()[0] != key:
            raise FeatnormError(f"the utterance name {key!r} has white space: rename its file")
        if "\n" in value or "\r" in value or not value.strip():
            raise FeatnormError(f"{key}: the value {value!r} cannot stand in a Kaldi scp file")
    keys = sorted(entries, key=lambda key: key.encode())
    write_text(path, "".join(f"{key} {entries[key]}\n" for key in keys))
