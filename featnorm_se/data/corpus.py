"""Pairs of noisy and clean files found in a corpus's folders, before anything is read."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from featnorm_se.errors import FeatnormError

_SUFFIXES = (".wav", ".flac")


@dataclass(frozen=True)
class FilePair:
    """One noisy file and its clean twin.

    Attributes:
        name: of the utterance.
        noisy, clean: files; in a Kaldi scp's words when a text (``file.ark:123``, ``command |``).
        spoken_by: the speaker, when the name does not say.
    """

    name: str
    noisy: Path | str
    clean: Path | str
    spoken_by: str = ""

    @property
    def speaker(self) -> str:
        """The part of the name before its first underscore, unless ``spoken_by`` is given."""
        return self.spoken_by or self.name.split("_")[0]


@dataclass(frozen=True)
class CorpusSet:
    """One set of a corpus: its pairs, its condition log, and a name for converted files."""

    pairs: list[FilePair]
    log: Path
    folder: str


def find_pairs(noisy: str | os.PathLike[str], clean: str | os.PathLike[str]) -> list[FilePair]:
    """Pair the wav and flac files of two folders by their names.

    Returns:
        The pairs, sorted by name.

    Raises:
        FeatnormError: a folder is missing or empty, a name comes twice or has white space in it,
            or a file has no twin; the message names the file.
    """
    noisy_files, clean_files = _files_by_name(Path(noisy)), _files_by_name(Path(clean))
    for have, other, folder, kind in (
        (noisy_files, clean_files, clean, "clean"),
        (clean_files, noisy_files, noisy, "noisy"),
    ):
        alone = sorted(set(have) - set(other))
        if alone:
            more = f" (and {len(alone) - 1} more)" if len(alone) > 1 else ""
            raise FeatnormError(
                f"{have[alone[0]]} has no {kind} twin in {folder}{more}: copy it or remove the file"
            )
    return [
        FilePair(name, noisy_files[name].absolute(), clean_files[name].absolute())
        for name in sorted(noisy_files, key=str.encode)
    ]


def _files_by_name(folder: Path) -> dict[str, Path]:
    """List a folder's audio files by name without ending."""
    if not folder.is_dir():
        raise FeatnormError(f"no such folder: {folder}: give the folder that holds it")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in _SUFFIXES or path.name.startswith("."):
            continue
        if len(path.stem.split()) != 1 or not path.stem.isprintable():
            raise FeatnormError(
                f"the name of {str(path)!r} has a space or an odd character, which Kaldi's files"
                " cannot carry: rename it"
            )
        if path.stem in found:
            raise FeatnormError(
                f"the name {path.stem} comes twice, as {found[path.stem]} and {path}: remove one"
            )
        found[path.stem] = path
    if not found:
        raise FeatnormError(f"{folder} holds no wav or flac file")
    return found


def split_valid(
    pairs: list[FilePair], speakers: Sequence[str]
) -> tuple[list[FilePair], list[FilePair]]:
    """Take the validation speakers' pairs out of the training pairs.

    Returns:
        The pairs to train and the pairs to validate with.

    Raises:
        FeatnormError: no validation speaker is named, one is not there, or none is left to train.
    """
    there = sorted({pair.speaker for pair in pairs})
    missing = [speaker for speaker in speakers if speaker not in there]
    if missing or not speakers:
        known = " ".join(there[:40])
        raise FeatnormError(
            f"the validation speaker {' '.join(missing) or '(none given)'} is not in the training"
            f" set, whose speakers are: {known}: choose with --valid_speakers"
        )
    train = [pair for pair in pairs if pair.speaker not in speakers]
    if not train:
        raise FeatnormError(
            f"nothing is left to train on: all training files are of {' '.join(speakers)}; name"
            " fewer --valid_speakers"
        )
    return train, [pair for pair in pairs if pair.speaker in speakers]


def read_log(path: Path) -> dict[str, tuple[str, float]]:
    """Read a condition log: a line is an utterance, a noise and an SNR in dB.

    Returns:
        Noise and SNR by utterance; empty when there is no such file.

    Raises:
        FeatnormError: a line reads otherwise; the message has its number.
    """
    if not path.is_file():
        return {}
    conditions: dict[str, tuple[str, float]] = {}
    text = path.read_text(encoding="utf-8", errors="replace")
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            name, noise, snr = line.split()
            conditions[name] = (noise, float(snr))
        except ValueError as error:
            raise FeatnormError(
                f"{path} line {number} is not 'utterance noise SNR': {line.strip()[:60]!r}"
            ) from error
    return conditions
