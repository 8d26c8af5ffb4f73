"""Data directories: what is written reads back, and what is broken is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from featnorm_se.data.datadir import Utterance, validate_data_dir, write_data_dir
from featnorm_se.errors import FeatnormError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    utterances = []
    for name in ("b_2", "a_10", "a_1"):
        paths = []
        for kind in ("noisy", "clean"):
            path = tmp_path / f"{name}.{kind}.wav"
            soundfile.write(path, 0.1 * np.ones(400), 16000)
            paths.append(str(path))
        utterances.append(Utterance(name, *paths, speaker=name[0], condition=("bus", 2.5)))
    write_data_dir(tmp_path / "set", utterances)
    return tmp_path / "set"


def test_round_trip(folder: Path) -> None:
    data = validate_data_dir(folder)
    assert list(data) == ["wav.scp", "spk1.scp", "utt2spk"]
    assert all(list(entries) == ["a_1", "a_10", "b_2"] for entries in data.values())
    assert data["utt2spk"]["b_2"] == "b"
    assert (folder / "spk2utt").read_text() == "a a_1 a_10\nb b_2\n"
    assert (folder / "utt2cond").read_text() == "a_1\tbus\t2.5\na_10\tbus\t2.5\nb_2\tbus\t2.5\n"


def line_missing(folder: Path) -> None:
    lines = (folder / "spk1.scp").read_text().splitlines()
    (folder / "spk1.scp").write_text("\n".join(lines[:-1]))


def shorter(folder: Path) -> None:
    soundfile.write(folder.parent / "b_2.clean.wav", 0.1 * np.ones(399), 16000)


def other_rate(folder: Path) -> None:
    for kind in ("noisy", "clean"):
        soundfile.write(folder.parent / f"b_2.{kind}.wav", 0.1 * np.ones(400), 8000)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (line_missing, "the utterance b_2 is in .*/wav.scp only"),
        (shorter, "b_2: noisy file and clean twin differ: .*400 samples.*399 samples"),
        (other_rate, "1 channels of 400 samples at 8000 Hz; one, .* at 16000 Hz is wanted"),
    ],
)
def test_what_is_broken_is_told(folder: Path, spoil, said: str) -> None:
    spoil(folder)
    with pytest.raises(FeatnormError, match=said):
        validate_data_dir(folder)
