"""Libri2Mix as its official scripts write it: two talkers of LibriSpeech, with noise and without.

J. Cosentino et al., "LibriMix: An open-source dataset for generalizable speech separation", 2020,
arXiv 2005.11262.
"""

import os
from dataclasses import replace
from pathlib import Path

from featnorm_se.data.corpus import SETS, CorpusSet, find_pairs, list_audio
from featnorm_se.errors import FeatnormError

FOLDERS = ("train-100", "dev", "test")


def find_libri2mix(db_root: Path, mix: str) -> dict[str, CorpusSet]:
    """List train, valid and test of a folder in Libri2Mix's layout.

    A recording is called ``<one>_<other>``, where a talker's name ends at the first ``-``.

    Args:
        db_root: holds ``wav16k/min``, or is that folder: ``train-100``, ``dev`` and ``test`` with
            ``mix_both`` or ``mix_clean``, ``s1`` and ``s2`` in each and, perhaps, ``utt2cond``.
        mix: ``both`` talkers and noise, or ``clean``, without.

    Raises:
        FeatnormError: a folder is missing, or no recording has its talkers' files.
    """
    whole, sets = db_root / "wav16k" / "min", {}
    root = whole if whole.is_dir() else db_root
    for name, part in zip(SETS, FOLDERS, strict=True):
        folder = root / part
        for side in (f"mix_{mix}", "s1", "s2"):
            if not (folder / side).is_dir():
                fault = f"--db_root is Libri2Mix's folder with wav16k/min/{{{','.join(FOLDERS)}}}"
                raise FeatnormError(f"no such folder: {folder / side}: {fault}, or that min folder")
        second = list_audio(folder / "s2")
        pairs = [
            replace(
                pair,
                clean2=os.path.abspath(second.get(pair.name, folder / "s2" / f"{pair.name}.wav")),
                speaker="+".join(one.split("-")[0] for one in pair.name.split("_")),
            )
            for pair in find_pairs(folder / f"mix_{mix}", folder / "s1")
        ]
        log = folder / ("utt2cond" if mix == "both" else "no_noise")
        sets[name] = CorpusSet(pairs, log, f"{part}_{mix}")
    return sets
