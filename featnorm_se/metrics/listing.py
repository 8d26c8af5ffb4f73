"""What is to be scored: utterances by name, from a folder of audio or from a Kaldi scp file."""

from __future__ import annotations

import os
from pathlib import Path

from featnorm_se.data.audio import AUDIO_SUFFIXES
from featnorm_se.data.scp import read_scp
from featnorm_se.errors import FeatnormError


def read_listing(path: str | os.PathLike[str]) -> dict[str, str]:
    """List the audio files of a folder (with its sub-folders) or of an scp file.

    In a folder, an utterance's name is the file's path inside it without the suffix. In an scp
    file, a relative path is taken from the current folder, as Kaldi does, or else from the scp
    file's own.

    Args:
        path: the folder or the scp file.

    Returns:
        The files by utterance name. Whether they can be read is not looked at.

    Raises:
        FeatnormError: the path does not exist, holds no audio, names an utterance twice, or a
            line of the scp file is a pipe or points into an archive.
    """
    root = Path(path)
    if root.is_dir():
        return _list_folder(root)
    if not root.exists():
        raise FeatnormError(f"{path}: no such folder or scp file")
    return {name: _locate(root, name, value) for name, value in read_scp(root).items()}


def _list_folder(root: Path) -> dict[str, str]:
    files: dict[str, str] = {}
    for file in sorted(root.rglob("*")):
        hidden = any(part.startswith(".") for part in file.relative_to(root).parts)
        if hidden or file.suffix.lower() not in AUDIO_SUFFIXES or not file.is_file():
            continue
        name = file.relative_to(root).with_suffix("").as_posix()
        if name in files:
            raise FeatnormError(f"{root} has two files for {name}: {files[name]} and {file}")
        _check_name(root, name)
        files[name] = str(file)
    if not files:
        raise FeatnormError(
            f"{root} holds no audio ({', '.join(AUDIO_SUFFIXES)}): name another folder, or an"
            " scp file"
        )
    return files


def _check_name(root: Path, name: str) -> None:
    """Refuse at once a name that no table could be written with after hours of scoring."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError as error:
        raise FeatnormError(
            f"{root} has a file whose name is not UTF-8 ({name!r}): rename it"
        ) from error


def _locate(scp: Path, name: str, value: str) -> str:
    if value.endswith("|"):
        raise FeatnormError(
            f"{scp}: {name} is a pipe ({value}), a path is wanted: run stage 1, which writes files"
        )
    if not os.path.isfile(value):
        beside = scp.parent / value
        if beside.is_file():
            return str(beside)
        if os.path.isfile(value.rpartition(":")[0]):
            raise FeatnormError(
                f"{scp}: {name} points into an archive ({value}), one audio file an utterance is"
                " wanted"
            )
    return value


def read_conditions(path: str | os.PathLike[str]) -> dict[str, tuple[str, float]]:
    """Read the noise type and SNR of utterances: ``<utt> <noise> <snr>`` a line, SNR in dB.

    This is the layout of the VoiceBank-DEMAND logs. A first line with no number is a heading.

    Returns:
        ``(noise, snr)`` by utterance.

    Raises:
        FeatnormError: the file cannot be read, is empty, or a line has another form.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise FeatnormError(f"cannot read the conditions in {path}: {error}") from error
    conditions: dict[str, tuple[str, float]] = {}
    for number, line in enumerate(lines, start=1):
        parts = line.split()
        if not parts:
            continue
        try:
            name, noise, snr = parts
            conditions[name] = (noise, float(snr))
        except ValueError as error:
            if number == 1:
                continue
            raise FeatnormError(
                f"{path} line {number}: {line.strip()!r} is not <utt> <noise> <snr>"
            ) from error
    if not conditions:
        raise FeatnormError(f"{path} names no utterance: <utt> <noise> <snr> a line")
    return conditions
