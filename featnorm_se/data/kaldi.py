"""Data directories that are there already, in Kaldi's words, to those that the recipes read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from featnorm_se.data.corpus import CorpusSet, FilePair
from featnorm_se.data.entry import is_command
from featnorm_se.data.prepare import SETS, default_wav_dir, prepare_sets
from featnorm_se.data.scp import read_scp
from featnorm_se.errors import FeatnormError


def prepare_kaldi(
    db_root: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    allow_pipes: bool = False,
    wav_dir: str | os.PathLike[str] | None = None,
    sample_rate: int = 16000,
    nj: int = 1,
) -> dict[str, Any]:
    """Write ``output/{train,valid,test}`` for data directories of the same names.

    Args:
        db_root: holds ``train``, ``valid`` and ``test``, each with wav.scp (noisy), spk1.scp
            (clean) and, perhaps, utt2spk and utt2cond. A value may be a path (relative ones count
            from where the command runs), a place in a Kaldi archive (``file.ark:123``) or a
            command (``command |``). What is no file of its own is written to ``wav_dir``.
        output: the folder of the new data directories.
        allow_pipes: run the commands; they can do anything that you can.
        wav_dir: where converted files go; ``None``: ``dump/wav16k`` beside ``output``.
        sample_rate: of all files that the new data directories name, in Hz.
        nj: processes.

    Returns:
        The record that is written to ``output/prepare.json``.

    Raises:
        FeatnormError: a list is missing, the lists' utterances differ, a command is there and not
            allowed, or as ``prepare_sets``.
    """
    root, target = Path(db_root), Path(output)
    if root.absolute() == target.absolute():
        raise FeatnormError(f"--db_root and the output are the same folder, {root}")
    sets = {name: _read_set(root / name, allow_pipes) for name in SETS}
    waves = Path(wav_dir) if wav_dir else default_wav_dir(target, sample_rate)
    return prepare_sets(sets, target, waves.absolute(), sample_rate, nj)


def _read_set(folder: Path, allow_pipes: bool) -> CorpusSet:
    if not folder.is_dir():
        raise FeatnormError(f"no such folder: {folder}: three are wanted, {', '.join(SETS)}")
    noisy, clean = read_scp(folder / "wav.scp"), read_scp(folder / "spk1.scp")
    speakers = read_scp(folder / "utt2spk") if (folder / "utt2spk").is_file() else {}
    odd = sorted(noisy.keys() ^ clean.keys())
    if odd:
        where = "wav.scp" if odd[0] in noisy else "spk1.scp"
        raise FeatnormError(
            f"{folder}: the utterance {odd[0]} is in {where} only ({len(odd)} such): both lists"
            " need the same utterances"
        )
    pairs = []
    for name in sorted(noisy, key=str.encode):
        values = [_value(folder, name, entry[name], allow_pipes) for entry in (noisy, clean)]
        pairs.append(FilePair(name, values[0], values[1], speakers.get(name, "")))
    return CorpusSet(pairs, folder / "utt2cond", folder.name)


def _value(folder: Path, name: str, value: str, allow_pipes: bool) -> str:
    if not is_command(value):
        return os.path.abspath(value)
    if not allow_pipes:
        raise FeatnormError(
            f"{folder}: the entry of {name} is a command, {value!r}: commands of an scp run only"
            " with --allow_pipes true"
        )
    if value.lstrip().startswith("|"):
        raise FeatnormError(f"{folder}: the entry of {name}, {value!r}, is a command to write to")
    return value
