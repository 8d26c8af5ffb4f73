"""The mini corpus and more noise, by their commands: layout, same bytes twice, nobody twice."""

import io
import json
import shlex
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from bad_inputs_world import tree
from corpus import box, mini
from corpus.mix import active_level, rms
from make_mini import main

from featnorm_se.bin import run
from featnorm_se.bin.prepare import main as prepare
from featnorm_se.data.audio import write_audio
from featnorm_se.data.scp import read_scp

SMALL = ["--train_speakers", "2", "--train_utts", "5", "--valid_utts", "2", "--test_utts", "3"]


def make(folder: Path, *more: str) -> int:
    return run(main, ["--output", str(folder), *more])


def log(path: Path) -> dict[str, tuple[str, float]]:
    rows = [line.split() for line in path.read_text().splitlines()]
    return {name: (noise, float(snr)) for name, noise, snr in rows}


@pytest.fixture(scope="module")
def boxed(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("mini") / "corpus"
    assert make(folder, *SMALL, "--nj", "1", "--copies", "2") == 0
    return folder


def test_layout_names_and_levels_are_those_of_voicebank_demand(boxed: Path) -> None:
    for part, count in (("trainset_28spk", 12), ("testset", 3)):
        rows = log(boxed / f"log_{part}.txt")
        folders = [boxed / f"{kind}_{part}_wav" for kind in ("clean", "noisy")]
        for folder in folders:
            assert sorted(path.stem for path in folder.iterdir()) == sorted(rows)
        assert len(rows) == count
        for name, (_, snr) in rows.items():
            clean, noisy = (soundfile.read(folder / f"{name}.wav")[0] for folder in folders)
            header = soundfile.info(folders[1] / f"{name}.wav")
            assert (header.samplerate, header.subtype, header.channels) == (16000, "PCM_16", 1)
            if part == "testset":
                continue
            assert np.abs(noisy).max() < 0.995 and snr in {15, 10, 5, 0}
            found = 20 * np.log10(active_level(clean, 16000) / rms(noisy - clean))
            assert abs(found - snr) < 0.1, name


def test_test_pairs_are_those_of_the_box(boxed: Path) -> None:
    with zipfile.ZipFile(box.BOX) as zipped:
        told = zipped.read("test/log_testset.txt").decode().splitlines()
        assert len(told) == 32 and {tuple(line.split()[1:]) for line in told} == {
            (noise, f"{snr:e}")
            for noise in ("bus", "cafe", "living", "office", "psquare")
            for snr in (2.5, 7.5, 12.5, 17.5)
        }
        for name in log(boxed / "log_testset.txt"):
            for kind in ("clean", "noisy"):
                there = soundfile.read(io.BytesIO(zipped.read(f"test/{kind}/{name}.flac")))[0]
                copy = soundfile.read(boxed / f"{kind}_testset_wav" / f"{name}.wav")[0]
                assert np.array_equal(there, copy), name


def test_sets_share_neither_speakers_nor_noises(boxed: Path) -> None:
    train = log(boxed / "log_trainset_28spk.txt")
    test = log(boxed / "log_testset.txt")
    valid = {name: row for name, row in train.items() if name[:4] in ("p226", "p287")}
    noises = [
        {noise for name, (noise, _) in train.items() if name not in valid},
        {noise for noise, _ in valid.values()},
        {noise for noise, _ in test.values()},
    ]
    assert sum(map(len, noises)) == len(set.union(*noises))
    assert {name[:4] for name in test} == {"p257"}
    people = read_scp(boxed / "utt2spk")
    heard = [{people[name] for name in names} for names in (train.keys() - valid, valid, test)]
    assert [len(who) for who in heard] == [5, 2, 1] and len(set.union(*heard)) == 8
    assert {name[:4] for name in train} == {"p226", "p287", "p227", "p228"}


def test_same_bytes_for_any_number_of_jobs_and_made_once(boxed: Path, tmp_path, capsys) -> None:
    again = tmp_path / "again"
    assert make(again, *SMALL, "--nj", "2", "--copies", "2") == 0
    assert tree(again) == tree(boxed)
    times = [{wav.name: wav.stat().st_mtime_ns for wav in x.rglob("*.wav")} for x in (again, boxed)]
    assert times[0] == times[1]  # so that what was trained on one goes on
    before = (again / "mini.json").stat().st_ino
    assert make(again, *SMALL, "--copies", "2") == 0
    assert "already made" in capsys.readouterr().err
    assert (again / "mini.json").stat().st_ino == before


def test_recordings_of_any_form_and_a_failing_run_leaves_the_old_corpus(tmp_path, capsys) -> None:
    rng = np.random.default_rng(0)
    forms = [("wav", 8000, 1, 12.5), ("flac", 44100, 2, 2), ("ogg", 22050, 1, 1.5)]
    forms += [("aiff", 16000, 3, 1.2), ("wav", 48000, 1, 1.1), ("wav", 16000, 1, 1.3)]
    for index, (ending, rate, channels, seconds) in enumerate(forms):
        place = tmp_path / "speech" / f"person{index}" / f"take one.{ending}"
        samples = 0.1 * rng.standard_normal((round(rate * seconds), channels))
        write_audio(place, samples, rate, soundfile.default_subtype(ending))
    soundfile.write(place.with_name("short.wav"), 0.1 * np.ones(8000), 16000)
    soundfile.write(place.with_name("still.wav"), np.zeros(32000), 16000)
    for index, (rate, seconds) in enumerate([(16000, 0.3), (44100, 3), (8000, 15), (16000, 2)]):
        samples = 0.1 * rng.standard_normal(round(rate * seconds))
        write_audio(tmp_path / "noise" / f"hum {index}.wav", samples, rate)
    roots = ["--speech_root", str(tmp_path / "speech"), "--noise_root", str(tmp_path / "noise")]
    output = tmp_path / "corpus"
    assert make(output, *roots, "--nj", "1") == 0
    counts = json.loads((output / "mini.json").read_text())["counts"]
    # 12.5 s make two pieces; the silent one is left out, the short one too, and both are told.
    assert sum(counts[part]["pairs"] for part in ("train", "valid", "test")) == 7
    told = capsys.readouterr().out
    assert "1 silent" in told and "1 files under 1 s" in told
    assert "split by speaker, as names and folders tell them (person" in told
    assert "...): nobody is in two of the sets" in told

    # Stage 1 gives the recordings' own speakers, whatever the files are called.
    data = ["--output", str(tmp_path / "data"), "--nj", "1"]
    assert run(prepare, ["--corpus", "mini", "--db_root", str(output), *data]) == 0
    parts = [set(read_scp(tmp_path / "data" / part / "utt2spk").values())
             for part in ("train", "valid", "test")]  # fmt: skip
    assert sorted(who for part in parts for who in part) == [f"person{i}" for i in range(6)]
    assert [len(part) for part in parts] == [3, 2, 1]

    stamp = json.loads((output / "mini.json").read_text())
    older = {root: mini._fingerprints(root)[1] for root in roots[1::2]}  # without times
    (output / "mini.json").write_text(json.dumps(stamp | {"sources": older}))
    assert make(output, *roots, "--nj", "1") == 0 and "already made" in capsys.readouterr().err
    (output / "mini.json").write_text(json.dumps(stamp))
    soundfile.write(place, -samples, rate)  # of the same size
    made = (output / "mini.json").stat().st_ino
    assert make(output, *roots, "--nj", "1") == 0
    assert (output / "mini.json").stat().st_ino != made
    before = tree(output)
    (tmp_path / "speech" / "person3" / "bad.wav").write_text("no audio")
    assert make(output, *roots, "--nj", "1") == 1
    assert "bad.wav is no audio" in capsys.readouterr().err
    assert tree(output) == before
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".corpus.new")]


def test_somebody_elses_folder_is_left_alone(tmp_path: Path, capsys) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    assert make(tmp_path) == 1
    assert "not made by make_mini" in capsys.readouterr().err
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


# ---- more_noise.py

RECIPE = Path(__file__).parents[3] / "egs" / "mini" / "enh1"


def call(*words: str) -> subprocess.CompletedProcess[str]:
    """Run more_noise.py as the shipped model's card says."""
    line = f". ./path.sh && local/more_noise.py {shlex.join(words)}"
    return subprocess.run(["bash", "-c", line], cwd=RECIPE, capture_output=True, text=True)


def test_every_recording_comes_with_variants_and_babble(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for folder, names in (("noise", "ab"), ("speech", "cdefghijklmno")):
        for name in names:
            write_audio(tmp_path / folder / f"{name}.flac", rng.normal(size=16000) * 0.02)
    options = ("--variants", "2", "--babbles", "1")
    words = [str(tmp_path / folder) for folder in ("noise", "speech", "out")]
    done = call(*words, *options)
    assert done.returncode == 0, done.stderr
    made = {path.stem: soundfile.read(path)[0] for path in (tmp_path / "out").iterdir()}
    assert set(made) == {"a", "b", "a-v0", "a-v1", "b-v0", "b-v1", "babble-0"}
    for name, samples in made.items():
        assert abs(20 * np.log10(np.sqrt(np.mean(samples**2)) / 0.05)) < 1.5, name
    assert not np.array_equal(made["a"][:8000], made["a-v0"][:8000])
    assert call(*words[:2], str(tmp_path / "twin"), *options).returncode == 0
    for path in (tmp_path / "out").iterdir():
        assert path.read_bytes() == (tmp_path / "twin" / path.name).read_bytes()
