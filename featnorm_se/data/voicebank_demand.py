"""VoiceBank-DEMAND: what its official download holds, and its folders.

C. Valentini-Botinhao, "Noisy speech database for training speech enhancement algorithms and TTS
models", 2017, Edinburgh DataShare, doi 10.7488/ds/2117, CC BY 4.0. The MD5 sums are those that
DataShare publishes for handle 10283/2791.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from featnorm_se.data.archive import check_md5, unpacked_folder, unpacked_logs
from featnorm_se.data.corpus import CorpusSet, find_pairs, split_valid
from featnorm_se.fetch import fetch_file

OFFICIAL_PAIRS = {"training": 11572, "test": 824}
SERVER = "https://datashare.ed.ac.uk/server/api/core/bitstreams"
LOGS_ZIP = "logfiles.zip"

TRAIN_FOLDERS = ("noisy_trainset_28spk_wav", "clean_trainset_28spk_wav")
TEST_FOLDERS = ("noisy_testset_wav", "clean_testset_wav")
TRAIN_LOG = "log_trainset_28spk.txt"
TEST_LOG = "log_testset.txt"
VALID_SPEAKERS = ("p226", "p287")


@dataclass(frozen=True)
class OfficialFile:
    """One file of the download: its name there, its place on the server, and its MD5."""

    name: str
    item: str
    md5: str


# fmt: off
DOWNLOADS = (
    OfficialFile(
        LOGS_ZIP, "11185dc8-9cf1-405b-b858-35bd6a04aedd", "0d16f5b6afe12d64238d1e4a0e6ff6e8"),
    OfficialFile(
        "clean_testset_wav.zip",
        "dec213d3-bf57-4777-9663-c24bdce92d5e", "34eb1c0ba7ef667e9b966866c542fc16"),
    OfficialFile(
        "noisy_testset_wav.zip",
        "13c1bfbf-14a6-41db-9b41-8f7310f01ad5", "fb1b86caa31e8ba5b506c0c64da9aab5"),
    OfficialFile(
        "clean_trainset_28spk_wav.zip",
        "245452b6-6235-44b6-a6f9-e7eb19797769", "d2d5a45ec32f8fcbf201bde0447e20ba"),
    OfficialFile(
        "noisy_trainset_28spk_wav.zip",
        "ecb5a102-bb00-46d3-8af5-40c79823b837", "1fca9e8bafb8cd069f6653c6d92f9e9c"),
)
# fmt: on


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
        FeatnormError: a file cannot be brought or is not the official one.
    """
    folder = Path(output)
    for file in files:
        path = folder / file.name
        if not path.is_file():
            fetch_file(
                f"{server}/{file.item}/content",
                path,
                mend=f"run it again to go on, or fetch it elsewhere and put it at {path}, or give"
                " the corpus with --db_root",
            )
        check_md5(path, file.md5)
    return [folder / file.name for file in files]


def find_voicebank_demand(
    db_root: str | os.PathLike[str],
    unpack_dir: Path,
    test_root: str | os.PathLike[str] | None = None,
    valid_speakers: Sequence[str] = VALID_SPEAKERS,
) -> dict[str, CorpusSet]:
    """List train, valid and test of a folder in VoiceBank-DEMAND's layout.

    Args:
        db_root: holds ``{noisy,clean}_trainset_28spk_wav``, ``{noisy,clean}_testset_wav`` (audio
            of any rates), each a folder or a ``.zip``, and, perhaps, the two logs or
            ``logfiles.zip``.
        unpack_dir: where zip files are unpacked.
        test_root: a folder with ``noisy`` and ``clean`` to test on in place of the corpus's own.
        valid_speakers: training speakers to validate with.

    Raises:
        FeatnormError: a folder or twin is missing, a zip is cut, a name cannot be carried, or a
            validation speaker is not there.
    """
    root = Path(db_root)
    logs = unpacked_logs(root, LOGS_ZIP, (TRAIN_LOG, TEST_LOG), unpack_dir)
    train_folders = (unpacked_folder(root, name, unpack_dir) for name in TRAIN_FOLDERS)
    train, valid = split_valid(find_pairs(*train_folders), valid_speakers)
    if test_root:
        test = find_pairs(Path(test_root, "noisy"), Path(test_root, "clean"))
        test_log = Path(test_root, TEST_LOG)
    else:
        test = find_pairs(*(unpacked_folder(root, name, unpack_dir) for name in TEST_FOLDERS))
        test_log = logs / TEST_LOG
    return {
        "train": CorpusSet(train, logs / TRAIN_LOG, "trainset"),
        "valid": CorpusSet(valid, logs / TRAIN_LOG, "trainset"),
        "test": CorpusSet(test, test_log, "testset"),
    }
