"""VoiceBank-DEMAND as its official download has it: folders, or the zip files of their names.

C. Valentini-Botinhao, "Noisy speech database for training speech enhancement algorithms and TTS
models", 2017, Edinburgh DataShare, doi 10.7488/ds/2117, CC BY 4.0.
"""

import shutil
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

from featnorm_se.data.corpus import CorpusSet, find_pairs, find_root, split_valid
from featnorm_se.data.datadir import name_speakers
from featnorm_se.data.decoding import AUDIO_SUFFIXES
from featnorm_se.errors import FeatnormError, say
from featnorm_se.files import is_done, locked, mark_done, replaced_folder, short_hash, stamp

OFFICIAL_PAIRS = {"training": 11572, "test": 824}
LOGS_ZIP = "logfiles.zip"

TRAIN_FOLDERS = ("noisy_trainset_28spk_wav", "clean_trainset_28spk_wav")
TEST_FOLDERS = ("noisy_testset_wav", "clean_testset_wav")
TRAIN_LOG = "log_trainset_28spk.txt"
TEST_LOG = "log_testset.txt"
VALID_SPEAKERS = ("p226", "p287")


def find_voicebank_demand(
    db_root: Path, unpack_dir: Path, test_root: Path | None, valid_speakers: Sequence[str]
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
    logs = db_root
    unpacked = any((db_root / log).is_file() for log in (TRAIN_LOG, TEST_LOG))
    if not unpacked and (db_root / LOGS_ZIP).is_file():
        logs = unpack(db_root / LOGS_ZIP, unpack_dir, (".txt",))
    pairs = find_pairs(*(_folder(db_root, name, unpack_dir) for name in TRAIN_FOLDERS))
    train, valid = split_valid(pairs, valid_speakers)
    people = db_root / "utt2spk"  # the mini corpus's: who is behind its names
    if test_root:
        test, test_log = find_root(test_root), test_root / TEST_LOG
        own = test_root / "utt2cond"
        test_log = own if own.is_file() and not test_log.is_file() else test_log
    else:
        test = find_pairs(*(_folder(db_root, name, unpack_dir) for name in TEST_FOLDERS))
        test, test_log = name_speakers(test, people), logs / TEST_LOG
    return {
        "train": CorpusSet(name_speakers(train, people), logs / TRAIN_LOG, "trainset"),
        "valid": CorpusSet(name_speakers(valid, people), logs / TRAIN_LOG, "trainset"),
        "test": CorpusSet(test, test_log, "testset"),
    }


def _folder(root: Path, name: str, unpack_dir: Path) -> Path:
    """Return ``root/name``, or where ``root/name.zip`` is unpacked to when there is no such one."""
    if (root / name).is_dir():
        return root / name
    if (root / f"{name}.zip").is_file():
        return unpack(root / f"{name}.zip", unpack_dir, AUDIO_SUFFIXES)
    fault = f"no such folder: {root / name}, and no {name}.zip there"
    own = " (folders train, valid and test: --prepare folders)" if (root / "train").is_dir() else ""
    raise FeatnormError(f"{fault}: give the folder that holds it with --db_root{own}")


def unpack(path: Path, folder: Path, suffixes: Sequence[str]) -> Path:
    """Unpack a zip's files with one of the endings (lower case), flat, into a folder of its own.

    That lies in ``folder``, and is left as it is where it was made from this very file.

    Raises:
        FeatnormError: the zip is cut or damaged, or holds a name twice or no such file.
    """
    target = folder / f"{path.stem}-{short_hash(path.resolve())[:8]}"
    request = {"zip": stamp([path])}
    with locked(target):
        if is_done(target, request):
            return target
        try:
            with zipfile.ZipFile(path) as zipped, replaced_folder(target) as fresh:
                members = _members(path, zipped, suffixes)
                say(f"unpacking {path}: {len(members)} files")
                for name, member in members.items():
                    with zipped.open(member) as source, open(fresh / name, "wb") as sink:
                        shutil.copyfileobj(source, sink)
        # RuntimeError: it is encrypted.
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
            fault = f"{path} is no whole zip file ({error}): fetch or copy it again"
            raise FeatnormError(fault) from error
        mark_done(target, request)
    return target


def _members(
    path: Path, zipped: zipfile.ZipFile, suffixes: Sequence[str]
) -> dict[str, zipfile.ZipInfo]:
    """Return what is to be unpacked, by plain file name: no name can lead out of the target."""
    found: dict[str, zipfile.ZipInfo] = {}
    for member in zipped.infolist():
        *folders, name = member.filename.replace("\\", "/").split("/")
        hidden = "__MACOSX" in folders or name.startswith(".")
        if hidden or not name.lower().endswith(tuple(suffixes)):
            continue
        if name in found:
            raise FeatnormError(f"{path} is not unpacked: the name {name} comes twice in it")
        found[name] = member
    if not found:
        raise FeatnormError(f"{path} holds no file that ends in {' or '.join(suffixes)}")
    return found
