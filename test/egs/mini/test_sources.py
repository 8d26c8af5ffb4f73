"""Recordings found, cut, read, shared out; levels and mixing, against known answers."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from corpus.mix import active_level, mix_at_snr, rms
from corpus.plan import make_pairs, split_noises, split_speakers
from corpus.sources import Clip, by_speaker, read_clip
from hypothesis import given, settings
from hypothesis import strategies as st

from featnorm_se.data.corpus import find_pairs
from featnorm_se.data.datadir import read_log

ROOT = Path("/root_folder")


def test_reading_takes_the_loudest_channel_at_the_rate_wanted(tmp_path: Path) -> None:
    time = np.arange(44100) / 44100
    left, right = 0.01 * np.sin(2 * np.pi * 99 * time), 0.3 * np.sin(2 * np.pi * 440 * time)
    path = tmp_path / "two.flac"
    soundfile.write(path, np.stack([left, right], axis=1), 44100)
    samples = read_clip(Clip(str(path), 0, 44100, 44100), 16000)
    wanted = 0.3 * np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    assert np.abs(samples[500:-500] - wanted[500:-500]).max() < 0.003


def test_train_and_test_folders_are_taken_at_their_word() -> None:
    train = [ROOT / f"train-clean/{speaker}-1-0.flac" for speaker in range(30)]
    test = [ROOT / f"test-other/x/{speaker}-1-0.flac" for speaker in (0, 50)]
    other = [ROOT / "dev/99-1-0.flac"]
    parts = split_speakers(ROOT, train + test + other, np.random.default_rng(0), True)
    # Speaker 0 is in training, so the test must do without; dev belongs to neither.
    assert set(parts["test"]) == {"50"}
    assert len(parts["valid"]) == 2 and len(parts["train"]) == 28
    assert set(parts["train"]) | set(parts["valid"]) == {str(speaker) for speaker in range(30)}


def test_speakers_and_noises_are_split_without_overlap(capsys) -> None:
    files = [ROOT / f"speaker{index}/{part}.wav" for index in range(40) for part in "ab"]
    parts = split_speakers(ROOT, files, np.random.default_rng(0), True)
    assert [len(parts[part]) for part in ("train", "valid", "test")] == [33, 3, 4]
    assert len(set().union(*parts.values())) == 40
    assert by_speaker(files, ROOT)["speaker3"] == [files[6], files[7]]
    flat = [ROOT / f"KH-Anna_{take}.wav" for take in range(3)] + [ROOT / "Bob_1.wav"]
    assert {who: len(own) for who, own in by_speaker(flat, ROOT).items()} == {
        "KH-Anna": 3,
        "Bob": 1,
    }
    assert "warning" not in capsys.readouterr().err
    assert len(by_speaker([ROOT / f"take-{number}.wav" for number in range(5)], ROOT)) == 5
    assert "each of 5 files counts as a speaker of its own" in capsys.readouterr().err
    noises = [ROOT / f"noise{index}.wav" for index in range(22)]
    shared = split_noises(ROOT, noises, np.random.default_rng(0), True)
    assert [len(shared[part]) for part in ("train", "valid", "test")] == [16, 2, 4]
    assert len(set().union(*shared.values())) == 22


def test_folders_train_and_valid_are_taken_at_their_word() -> None:
    speech = [f"train/{who}-1-0.wav" for who in (101, 102, 103)]
    speech += [f"valid/{who}-2-0.wav" for who in (103, 104, 105)]
    files = [ROOT / name for name in speech]
    parts = split_speakers(ROOT, files, np.random.default_rng(0), False)
    # Who is in training does not validate.
    assert {part: sorted(people) for part, people in parts.items()} == {
        "train": ["101", "102", "103"], "valid": ["104", "105"], "test": []
    }  # fmt: skip
    noises = split_noises(ROOT, files, np.random.default_rng(0), False)
    assert noises == {"train": files[:3], "valid": files[3:], "test": []}


def test_every_condition_is_used_equally_often() -> None:
    clips = [("p227", Clip(f"{index}.wav", 0, 16000, 16000)) for index in range(24)]
    noises = [Path("a b.wav"), Path("c.wav"), Path("d.wav")]
    pairs = make_pairs("train", clips, noises, 3, np.random.default_rng(0))
    assert [pair.name for pair in pairs] == [f"p227_{number:03d}" for number in range(1, 73)]
    conditions = [(pair.noise_name, pair.snr) for pair in pairs]
    assert {conditions.count(condition) for condition in conditions} == {6}


# ---- levels and mixing

SHARED = Path(__file__).parents[3].parent / "shared" / "data" / "voicebank_demand"


@settings(max_examples=30, deadline=None)
@given(snr=st.floats(-20, 30), loud=st.floats(1e-3, 3.0), noise_loud=st.floats(1e-3, 3.0))
def test_the_mix_has_the_snr_asked_for_and_never_clips(snr, loud, noise_loud) -> None:
    rng = np.random.default_rng(0)
    speech = loud * np.sin(2 * np.pi * 440 * np.arange(16000) / 16000).astype(np.float32)
    noise = (noise_loud * rng.standard_normal(16000)).astype(np.float32)
    clean, noisy = mix_at_snr(speech, noise, snr, 16000)
    assert max(np.abs(clean).max(), np.abs(noisy).max()) <= 0.9901
    found = 20 * np.log10(active_level(clean, 16000) / rms(noisy - clean))
    assert found == pytest.approx(snr, abs=0.05)
    gain = clean.astype(float).dot(speech) / speech.astype(float).dot(speech)
    assert gain <= 1.0 + 1e-6
    assert np.allclose(clean, gain * speech, atol=1e-5)


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/data")
def test_the_level_is_the_one_voicebank_demand_was_mixed_with() -> None:
    pairs = find_pairs(SHARED / "noisy_trainset_28spk_wav", SHARED / "clean_trainset_28spk_wav")
    log = read_log(SHARED / "log_trainset_28spk.txt")
    errors = []
    for pair in pairs:
        noisy, rate = soundfile.read(pair.noisy, dtype="float32")
        clean, _ = soundfile.read(pair.clean, dtype="float32")
        found = 20 * np.log10(active_level(clean, rate) / rms(noisy - clean))
        errors.append(found - log[pair.name][1])
    assert len(errors) == 16
    assert abs(np.mean(errors)) < 0.2 and np.max(np.abs(errors)) < 0.7
