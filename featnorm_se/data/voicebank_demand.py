"""VoiceBank-DEMAND's folders, as its official download has them.

C. Valentini-Botinhao, "Noisy speech database for training speech enhancement algorithms and TTS
models", 2017, Edinburgh DataShare, doi 10.7488/ds/2117, CC BY 4.0.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from featnorm_se.data.archive import unpacked_folder, unpacked_logs
from featnorm_se.data.corpus import CorpusSet, find_pairs, split_valid

OFFICIAL_PAIRS = {"training": 11572, "test": 824}
LOGS_ZIP = "logfiles.zip"

TRAIN_FOLDERS = ("noisy_trainset_28spk_wav", "clean_trainset_28spk_wav")
TEST_FOLDERS = ("noisy_testset_wav", "clean_testset_wav")
TRAIN_LOG = "log_trainset_28spk.txt"
TEST_LOG = "log_testset.txt"
VALID_SPEAKERS = ("p226", "p287")


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
