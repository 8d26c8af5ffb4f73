"""What is to be scored: utterances by name, from a folder of audio or from a Kaldi scp file."""

from __future__ import annotations

import os
from pathlib import Path

from featnorm_se.data.audio import AUDIO_SUFFIXES
from featnorm_se.data.corpus import read_log
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
        The files by utterance name. Whether they can be read is not looked at; commands and
        places in an archive are no files.

    Raises:
        FeatnormError: the path does not exist, holds no audio, or names an utterance twice.
    """
    root = Path(path)
    if root.is_dir():
        return _list_folder(root)
    if not root.exists():
        raise FeatnormError(f"{path}: no such folder or scp file")
    files = read_scp(root)
    for name, value in files.items():
        beside = root.parent / value
        if not os.path.isfile(value) and beside.is_file():
            files[name] = str(beside)
    return files


def _list_folder(root: Path) -> dict[str, str]:
    files: dict[str, str] = {}
    for file in sorted(root.rglob("*")):
        inside = file.relative_to(root)
        hidden = any(name.startswith(".") for name in inside.parts)
        if hidden or file.suffix.lower() not in AUDIO_SUFFIXES or not file.is_file():
            continue
        name = inside.with_suffix("").as_posix()
        if name in files:
            raise FeatnormError(f"{root} has two files for {name}: {files[name]} and {file}")
        files[name] = str(file)
    if not files:
        raise FeatnormError(
            f"{root} holds no audio ({', '.join(AUDIO_SUFFIXES)}): name another folder, or an"
            " scp file"
        )
    return files


def read_conditions(path: str | os.PathLike[str]) -> dict[str, tuple[str, float]]:
    """Read the noise type and SNR of utterances: ``<utt> <noise> <snr>`` a line, SNR in dB.

    Returns:
        ``(noise, snr)`` by utterance.

    Raises:
        FeatnormError: there is no such file, it is empty, or a line has another form.
    """
    conditions = read_log(Path(path))
    if not conditions:
        raise FeatnormError(f"{path} names no utterance: <utt> <noise> <snr> a line is wanted")
    return conditions
