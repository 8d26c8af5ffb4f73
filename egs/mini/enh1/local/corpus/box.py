"""The recordings in egs/mini/corpus: what the corpus is made of when no other are given."""

from __future__ import annotations

import shutil
import zipfile
import zlib
from pathlib import Path

from featnorm_se.data.audio import read_audio, write_audio
from featnorm_se.data.datadir import read_log
from featnorm_se.data.voicebank_demand import TEST_FOLDERS, TEST_LOG
from featnorm_se.errors import FeatnormError
from featnorm_se.names import SAMPLE_RATE

BOX = Path(__file__).parents[3] / "corpus" / "corpus.zip"


def unpack(target: Path) -> None:
    """Unpack ``speech``, ``noise`` and ``test`` into a folder.

    Raises:
        FeatnormError: the zip is missing or damaged.
    """
    try:
        with zipfile.ZipFile(BOX) as zipped:
            zipped.extractall(target)
    except (OSError, zipfile.BadZipFile, zlib.error) as error:
        raise FeatnormError(f"{BOX} is not whole ({error}): git checkout it again") from error


def share_valid(raw: Path) -> None:
    """Take every other one of the validation recordings in the box to test: it has one talker."""
    for kind in ("speech", "noise"):
        (raw / kind / "test").mkdir()
        for path in sorted((raw / kind / "valid").iterdir())[1::2]:
            shutil.move(path, raw / kind / "test")


def copy_test_pairs(raw: Path, folder: Path, limit: int | None) -> list[tuple[str, str, float]]:
    """Take the pairs of VoiceBank-DEMAND as they are; a few of them are spread over all.

    Args:
        raw: holds the pairs.
        folder: the corpus's.
        limit: how many pairs; ``None`` for all.

    Returns:
        Name, noise and length in seconds of each pair.
    """
    log = read_log(raw / TEST_LOG)
    names = sorted(log)
    names = names if limit is None or limit >= len(names) else _spread(names, limit)
    pairs = []
    lines = (raw / TEST_LOG).read_text(encoding="utf-8").splitlines(keepends=True)
    text = "".join(line for line in lines if line.split()[0] in names)
    (folder / TEST_LOG).write_text(text, encoding="utf-8")
    for name in names:
        for kind, place in zip(("noisy", "clean"), TEST_FOLDERS, strict=True):
            samples = read_audio(raw / kind / f"{name}.flac", SAMPLE_RATE)
            write_audio(folder / place / f"{name}.wav", samples, SAMPLE_RATE)
        pairs.append((name, log[name][0], len(samples) / SAMPLE_RATE))
    return pairs


def _spread(names: list[str], count: int) -> list[str]:
    """Pick so many names at even distances."""
    return [names[index * len(names) // count] for index in range(count)]
