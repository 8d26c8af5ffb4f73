"""VoiceBank-DEMAND: what its official download holds, and its folders to data directories.

C. Valentini-Botinhao, "Noisy speech database for training speech enhancement algorithms and TTS
models", 2017, Edinburgh DataShare, doi 10.7488/ds/2117, CC BY 4.0. The MD5 sums are those that
DataShare publishes for handle 10283/2791.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featnorm_se.data import names
from featnorm_se.data.archive import check_md5, check_room, unpacked_folder, unpacked_logs
from featnorm_se.data.corpus import CorpusSet, find_pairs, split_valid
from featnorm_se.data.prepare import default_wav_dir, prepare_sets
from featnorm_se.errors import FeatnormError
from featnorm_se.fetch import fetch_file

OFFICIAL_PAIRS = {"training": 11572, "test": 824}
SERVER = "https://datashare.ed.ac.uk/server/api/core/bitstreams"
LOGS_ZIP = "logfiles.zip"


@dataclass(frozen=True)
class OfficialFile:
    """One file of the download: its name there, its place on the server, size and MD5.

    Attributes:
        size: in bytes; ``None`` where it is not published exactly.
    """

    name: str
    item: str
    md5: str
    size: int | None = None


DOWNLOADS = (
    OfficialFile(
        LOGS_ZIP, "11185dc8-9cf1-405b-b858-35bd6a04aedd", "0d16f5b6afe12d64238d1e4a0e6ff6e8"
    ),
    OfficialFile(
        "clean_testset_wav.zip",
        "dec213d3-bf57-4777-9663-c24bdce92d5e",
        "34eb1c0ba7ef667e9b966866c542fc16",
    ),
    OfficialFile(
        "noisy_testset_wav.zip",
        "13c1bfbf-14a6-41db-9b41-8f7310f01ad5",
        "fb1b86caa31e8ba5b506c0c64da9aab5",
    ),
    OfficialFile(
        "clean_trainset_28spk_wav.zip",
        "245452b6-6235-44b6-a6f9-e7eb19797769",
        "d2d5a45ec32f8fcbf201bde0447e20ba",
        2486057279,
    ),
    OfficialFile(
        "noisy_trainset_28spk_wav.zip",
        "ecb5a102-bb00-46d3-8af5-40c79823b837",
        "1fca9e8bafb8cd069f6653c6d92f9e9c",
        2830205201,
    ),
)


def download_voicebank_demand(
    output: str | os.PathLike[str],
    files: Sequence[OfficialFile] = DOWNLOADS,
    server: str = SERVER,
) -> list[Path]:
    """Bring the official zip files into a folder; those that are there and whole are kept.

    Args:
        output: the folder.
        files: what to bring.
        server: the address before ``/<item>/content``.

    Returns:
        The files.

    Raises:
        FeatnormError: a file cannot be brought, is not the official one, or the disk is too small.
    """
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    missing = [file for file in files if not (folder / file.name).is_file()]
    here = sum(part.stat().st_size for part in folder.glob("*.part"))
    check_room(folder, sum(file.size or 0 for file in missing) - here, "the download")
    for file in files:
        path = folder / file.name
        if file in missing:
            mend = f"run it again to go on, or fetch it elsewhere and put it at {path}"
            fetch_file(
                f"{server}/{file.item}/content",
                path,
                size=file.size,
                digest=f"md5:{file.md5}",
                mend=f"{mend}, or give the corpus with --db_root",
            )
        check_md5(path, file.md5)
    return [folder / file.name for file in files]


def prepare_voicebank_demand(
    db_root: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    test_root: str | os.PathLike[str] | None = None,
    valid_speakers: Sequence[str] = names.VALID_SPEAKERS,
    wav_dir: str | os.PathLike[str] | None = None,
    unpack_dir: str | os.PathLike[str] | None = None,
    sample_rate: int = 16000,
    nj: int = 1,
) -> dict[str, Any]:
    """Write ``output/{train,valid,test}`` for a folder in VoiceBank-DEMAND's layout.

    Args:
        db_root: holds ``{noisy,clean}_trainset_28spk_wav``, ``{noisy,clean}_testset_wav`` (wav or
            flac, any rates), each a folder or a ``.zip``, and, perhaps, the two logs or
            ``logfiles.zip``.
        output: the folder of the data directories.
        test_root: a folder with ``noisy`` and ``clean`` to test on in place of the corpus's own.
        valid_speakers: training speakers to validate with.
        wav_dir: where resampled files go; ``None``: ``dump/wav16k`` beside ``output``.
        unpack_dir: where zip files are unpacked; ``None``: ``unpacked`` beside ``wav_dir``.
        sample_rate: of all files that the data directories name, in Hz.
        nj: processes.

    Returns:
        The record that is written to ``output/prepare.json``.

    Raises:
        FeatnormError: a folder or twin is missing, a zip is cut or unsafe, twins differ in length
            or rate, a file is no audio, not mono, silent or holds NaN, a name cannot be carried,
            or a validation speaker is not there.
    """
    root = Path(db_root)
    if not root.is_dir():
        raise FeatnormError(f"no such folder: {root}: give the corpus's folder with --db_root")
    target = Path(output)
    waves = Path(wav_dir) if wav_dir else default_wav_dir(target, sample_rate)
    unpacked = Path(unpack_dir) if unpack_dir else waves.absolute().parent / "unpacked"
    logs = unpacked_logs(root, LOGS_ZIP, (names.TRAIN_LOG, names.TEST_LOG), unpacked)

    def folders(pair: tuple[str, str]) -> tuple[Path, Path]:
        noisy, clean = (unpacked_folder(root, name, unpacked) for name in pair)
        return noisy, clean

    train_pairs = find_pairs(*folders(names.TRAIN_FOLDERS))
    train, valid = split_valid(train_pairs, valid_speakers)
    log = logs / names.TRAIN_LOG
    sets = {
        "train": CorpusSet(train, log, "trainset"),
        "valid": CorpusSet(valid, log, "trainset"),
    }
    if test_root:
        test = Path(test_root)
        pairs = find_pairs(test / "noisy", test / "clean")
        sets["test"] = CorpusSet(pairs, test / names.TEST_LOG, "testset")
    else:
        pairs = find_pairs(*folders(names.TEST_FOLDERS))
        sets["test"] = CorpusSet(pairs, logs / names.TEST_LOG, "testset")
    return prepare_sets(sets, target, waves.absolute(), sample_rate, nj)
