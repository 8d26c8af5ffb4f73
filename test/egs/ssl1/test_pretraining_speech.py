"""Pieces of speech: cut, joined, held out by speaker, and never another order."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from corpus.sources import Clip
from pretraining import speech

from featnorm_se.data.audio import write_audio
from featnorm_se.upstream import load_upstream


def write(path: Path, seconds: float, pitch: float = 200.0) -> None:
    time = np.arange(round(seconds * 16000)) / 16000
    write_audio(path, 0.1 * np.sin(2 * np.pi * pitch * time * (1 + 0.1 * time)))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path / "speech" / "anna" / "long.wav", 7.0)
    for number, seconds in enumerate((1.5, 0.1, 1.0, 1.2)):
        write(tmp_path / "speech" / "bert" / f"{number}.wav", seconds, 150)
    write(tmp_path / "speech" / "carl" / "scrap.wav", 0.5)
    return tmp_path / "speech"


def test_long_files_are_cut_and_short_ones_joined(root: Path) -> None:
    pieces = speech.find_pieces([root], 3.0)
    found = [(p.speaker, len(p.clips), round(p.seconds, 2)) for p in pieces]
    # 0.1 s is no speech; 1.5 + 1.0 s fit in 3, the next 1.2 s do not; carl has under a second.
    assert found == [("anna", 1, 2.33)] * 3 + [("bert", 2, 2.5), ("bert", 1, 1.2)]


def test_features_are_the_upstreams_own(root: Path) -> None:
    upstream = load_upstream("tera_tiny", "scratch")
    (piece,) = [p for p in speech.find_pieces([root], 3.0) if len(p.clips) == 2]
    (features,) = speech.take_features([piece], upstream.mel)
    parts = [soundfile.read(c.path, dtype="float32")[0] for c in piece.clips]
    samples = torch.from_numpy(np.concatenate(parts))
    with torch.no_grad():
        sites, _ = upstream.extract(samples[None], torch.tensor([len(samples)]), ["frontend"])
    assert torch.equal(features, sites["frontend"][0])
    assert features.requires_grad is False and not features.is_inference()


def test_whole_speakers_are_held_out() -> None:
    lengths = {f"s{k:02d}": 5 for k in range(40)} | {"giant": 400}
    clips = {name: Clip(f"{name}.wav", 0, s * 16000, 16000) for name, s in lengths.items()}
    pieces = [speech.Piece(name, (clip,)) for name, clip in clips.items()]
    train, valid = speech.hold_out(pieces, [], 0.05, seed=1)
    assert {p.speaker for p in train}.isdisjoint(p.speaker for p in valid)
    assert len(train) + len(valid) == len(pieces)
    # 5 % of 600 s are 30 s: six of the small ones, never the giant alone.
    assert len(valid) == 6 and "giant" not in {p.speaker for p in valid}
    assert speech.hold_out(pieces, [], 0.05, seed=1)[1] == valid
    train, valid = speech.hold_out(pieces, ["s07"], 0.9, seed=0)
    assert [p.speaker for p in valid] == ["s07"] and len(train) == 40


def test_the_summary_knows_speech_not_places(root: Path) -> None:
    pieces = speech.find_pieces([root], 3.0)
    moved = root.rename(root.with_name("elsewhere"))
    assert speech.summary(speech.find_pieces([moved], 3.0)) == speech.summary(pieces)
    assert speech.summary(pieces[1:]) != speech.summary(pieces)
