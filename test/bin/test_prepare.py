"""Stage 1 on a small corpus in VoiceBank-DEMAND's folders, through its command."""

import json
import os
import shutil
import zipfile
from pathlib import Path

import kaldiio
import numpy as np
import pytest
import soundfile

from featnorm_se.bin import run
from featnorm_se.bin.prepare import main
from featnorm_se.data.audio import read_audio, resample, write_audio
from featnorm_se.data.corpus import CorpusSet, find_pairs
from featnorm_se.data.datadir import Utterance, validate_data_dir
from featnorm_se.data.doubts import find_shift
from featnorm_se.data.prepare import _fingerprint, prepare_sets
from featnorm_se.data.scp import read_scp
from featnorm_se.errors import FeatnormError
from featnorm_se.files import locked, stamp

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
NAMES = {
    "trainset_28spk": ("p226_001", "p226_002", "p287_001", "p227_001", "p227_002", "p228_001"),
    "testset": ("p232_001", "p232_002"),
}


def put_pair(folder: Path, noisy: str, clean: str = "") -> None:
    """Write the same noise to both folders, under one name or two."""
    samples = 0.1 * np.random.default_rng(0).standard_normal(800)
    write_audio(folder / "noisy" / noisy, samples)
    write_audio(folder / "clean" / (clean or noisy), samples)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Eight pairs of 0.2 s at 16 kHz, with both logs."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "corpus"
    for part, names in NAMES.items():
        for name in names:
            clean = 0.1 * rng.standard_normal(3200)
            write_audio(folder / f"clean_{part}_wav" / f"{name}.wav", clean)
            noisy = clean + 0.05 * rng.standard_normal(3200)
            write_audio(folder / f"noisy_{part}_wav" / f"{name}.wav", noisy)
    (folder / "log_trainset_28spk.txt").write_text("p226_001 babble 15\np227_001 car 0\n")
    (folder / "log_testset.txt").write_text("p232_001 bus 1.750000e+01\np232_002 cafe 2.5e+00\n")
    return folder


def prepare(root: Path, *more: str) -> int:
    output = str(root.parent / "data")
    return run(main, ["--db_root", str(root), "--output", output, "--nj", "1", *more])


def prepare_folders(root: Path, *more: str) -> int:
    return prepare(root, "--corpus", "folders", *more)


def test_lists_hold_every_pair_sorted_and_in_its_set(root: Path, capsys) -> None:
    assert prepare(root) == 0
    data = root.parent / "data"
    assert list(read_scp(data / "train" / "wav.scp")) == ["p227_001", "p227_002", "p228_001"]
    assert list(read_scp(data / "valid" / "wav.scp")) == ["p226_001", "p226_002", "p287_001"]
    test = validate_data_dir(data / "test")
    noisy = root / "noisy_testset_wav" / "p232_001.wav"
    assert test["wav.scp"]["p232_001"] == str(noisy)
    assert test["spk1.scp"]["p232_002"] == str(root / "clean_testset_wav" / "p232_002.wav")
    assert (data / "train" / "spk2utt").read_text() == "p227 p227_001 p227_002\np228 p228_001\n"
    assert (data / "train" / "utt2spk").read_text().split("\n")[2] == "p228_001 p228"
    assert (data / "test" / "utt2cond").read_text() == "p232_001\tbus\t17.5\np232_002\tcafe\t2.5\n"
    assert (data / "valid" / "utt2cond").read_text() == "p226_001\tbabble\t15\n"
    assert "train: 3 pairs" in capsys.readouterr().out


def test_a_second_call_changes_nothing_and_a_changed_file_is_seen(root: Path, capsys) -> None:
    assert prepare(root) == 0
    listed = root.parent / "data" / "train" / "wav.scp"
    before = listed.stat().st_mtime_ns
    assert prepare(root) == 0
    assert "already prepared" in capsys.readouterr().err
    assert listed.stat().st_mtime_ns == before
    write_audio(root / "clean_testset_wav" / "p232_001.wav", np.zeros(3200))
    assert prepare(root) == 1
    assert listed.stat().st_mtime_ns == before  # what was there is left alone


def test_lists_that_were_changed_since_are_written_anew(root: Path, capsys) -> None:
    assert prepare(root) == 0
    for name in ("wav.scp", "utt2cond"):
        listed = root.parent / "data" / "test" / name
        whole = listed.read_text()
        for rest in ("", whole.splitlines(keepends=True)[0]):
            listed.write_text(rest)
            assert prepare(root) == 0
            assert "data were changed after stage 1" in capsys.readouterr().err
            assert listed.read_text() == whole


def test_a_file_that_the_system_does_not_give_is_no_bad_pair(root: Path, capsys, monkeypatch):
    def closed(path, mode):
        if "p227_001" in str(path):
            raise PermissionError(13, "Permission denied", str(path))
        return open(path, mode)

    with monkeypatch.context() as patch:
        patch.setattr("featnorm_se.data.scp.open", closed, raising=False)
        assert prepare(root, "--skip_bad", "true") == 1
    assert "p227_001.wav: Permission denied" in capsys.readouterr().err.splitlines()[-1]
    assert not (root.parent / "data" / "prepare.json").exists()
    assert prepare(root, "--skip_bad", "true") == 0
    assert "train: 3 pairs" in capsys.readouterr().out


@pytest.mark.parametrize("level", [1.5, 1e-4])
def test_what_int16_does_not_hold_is_resampled_whole(root: Path, level: float) -> None:
    tone = level * np.sin(2 * np.pi * 500 * np.arange(9600) / 48000)
    path = root / "noisy_testset_wav" / "p232_001.wav"
    soundfile.write(path, tone, 48000, subtype="FLOAT")
    write_audio(root / "clean_testset_wav" / "p232_001.wav", 0.5 / level * tone[::3])
    assert prepare(root) == 0
    made = read_audio(read_scp(root.parent / "data" / "test" / "wav.scp")["p232_001"])
    assert np.abs(made - tone[::3])[50:-50].max() < 2e-3 * level


def test_other_rates_are_resampled_as_documented(root: Path) -> None:
    rng = np.random.default_rng(1)
    for kind in ("noisy", "clean"):
        folder = root / f"{kind}_testset_wav"
        write_audio(folder / "p232_001.wav", 0.1 * rng.standard_normal(9600), 48000)
        (folder / "p232_002.wav").unlink()
        write_audio(folder / "p232_002.flac", 0.1 * rng.standard_normal(4411), 44100)
    assert prepare(root) == 0
    data = root.parent / "data"
    test = validate_data_dir(data / "test")
    assert test["spk1.scp"]["p232_001"].startswith(str(root.parent / "dump" / "wav16k"))
    assert soundfile.info(test["wav.scp"]["p232_002"]).frames == 1601
    wide = read_audio(root / "noisy_testset_wav" / "p232_001.wav", 48000)
    narrow = read_audio(test["wav.scp"]["p232_001"])
    assert np.abs(narrow - resample(wide, 48000, 16000)).max() < 1 / 32768
    record = json.loads((data / "prepare.json").read_text())
    assert "torchaudio" in record["resampler"] and record["counts"]["test"]["resampled_pairs"] == 2


def test_a_broken_off_run_keeps_what_was_resampled(root: Path) -> None:
    for number in (1, 2):
        for kind in ("noisy", "clean"):
            path = root / f"{kind}_testset_wav" / f"p232_00{number}.wav"
            write_audio(path, 0.1 * np.sin(np.arange(9600)), 48000)
    good = path.read_bytes()
    path.write_bytes(b"no audio at all")
    assert prepare(root) == 1
    dump = root.parent / "dump" / "wav16k"
    (first,) = dump.glob("data-*/testset/*/noisy/p232_001.wav")
    before = first.stat().st_ino
    path.write_bytes(good)
    assert prepare(root) == 0
    assert first.stat().st_ino == before
    first.unlink()
    assert prepare(root) == 0 and first.is_file()
    whole = first.read_bytes()
    os.truncate(first, 100)
    assert prepare(root) == 0 and first.read_bytes() == whole
    source = root / "noisy_testset_wav" / "p232_001.wav"
    write_audio(source, 0.2 + 0.001 * np.sin(np.arange(9600)), 48000)
    assert prepare(root) == 0
    assert np.abs(read_audio(first)[1000:2000] - 0.2).max() < 0.01


def test_test_root_takes_the_place_of_the_test_set(root: Path, capsys) -> None:
    other = root.parent / "other"
    put_pair(other, "p257_009.flac")
    (other / "utt2cond").write_text("p257_009 bus 5\n")
    own = [path.stem for path in root.glob("noisy_trainset_28spk_wav/*.wav")]
    lines = [f"{name} {name[:4]}\n" for name in own] + ["p257_009 somebody\n"]
    (root / "utt2spk").write_text("".join(lines))  # of the corpus's own test pairs
    assert prepare(root, "--test_root", str(other)) == 0
    test = root.parent / "data" / "test"
    assert read_scp(test / "utt2spk") == {"p257_009": "p257"}
    assert (test / "utt2cond").read_text() == "p257_009\tbus\t5\n"
    corpus = root.parent / "pairs"
    put_pair(corpus / "train", "a_1.wav")
    put_pair(corpus / "valid", "b_1.wav")
    assert prepare_folders(corpus, "--test_root", str(other)) == 0
    assert set(read_scp(test / "wav.scp")) == {"p257_009"}
    assert prepare(corpus, "--corpus", "kaldi", "--test_root", str(other)) == 1
    assert "--test_root is not for kaldi" in capsys.readouterr().err
    assert prepare_folders(corpus, "--valid_speakers", "a") == 1  # there is corpus/valid
    assert "--valid_speakers is not for folders: " in capsys.readouterr().err


def test_names_that_tell_no_speakers_are_told(root: Path, capsys) -> None:
    corpus = root.parent / "pairs"
    for name in ("KH-Anna-1.wav", "KH-Anna-2.wav", "KH-Bob-1.wav"):
        put_pair(corpus / "train", name)
    put_pair(corpus / "test", "x_1.wav")
    assert prepare_folders(corpus, "--valid_speakers", "KH-Bob-1") == 0
    assert "each of the 3 training pairs counts as a speaker" in capsys.readouterr().err


def test_one_more_test_set_lies_beside_the_others_and_leaves_them_alone(root: Path, capsys) -> None:
    data, more = root.parent / "data", root.parent / "more"

    def add(name: str, folder: Path = more) -> int:
        return run(main, f"--test_set {name} --output {data} --test_root {folder}".split())

    for side in ("noisy", "clean"):  # a training pair that is converted
        write_audio(
            root / f"{side}_trainset_28spk_wav" / "p227_008.wav", np.sin(np.arange(9600)), 48000
        )
        write_audio(more / side / "p227_009.wav", 0.1 * np.sin(np.arange(9600)), 48000)
    (more / "log_testset.txt").write_text("p227_009 bus 5\n")
    assert prepare(root) == 0
    before = {path: path.stat().st_mtime_ns for path in data.rglob("*")}
    assert add("more") == 0
    printed = capsys.readouterr()
    assert "more: 1 pairs" in printed.out and "trained and tested on the same" in printed.err
    assert (data / "more" / "utt2cond").read_text() == "p227_009\tbus\t5\n"
    # A data directory of Kaldi's, too; what is there already is not done again.
    kaldi = shutil.copytree(data / "more", root.parent / "kaldi")
    assert add("again", kaldi) == 0
    files = validate_data_dir(data / "more")
    assert read_scp(data / "again" / "wav.scp") == files["wav.scp"]
    assert add("again", kaldi) == 0
    assert "again is already prepared" in capsys.readouterr().err
    # Other people's lists, and what was trained on.
    (data / "own").mkdir()
    shutil.copy(kaldi / "wav.scp", data / "own")
    for name, fault in (("test", "a folder's"), ("own", "not written by"), ("../x", "a folder's")):
        assert add(name) == 1 and fault in capsys.readouterr().err
    for pair in ("p227_001", "p227_008"):
        for side in ("noisy", "clean"):
            shutil.copy(root / f"{side}_trainset_28spk_wav" / f"{pair}.wav", more / side)
        assert add("more") == 1
        assert f"{pair} is both in train and in more" in capsys.readouterr().err
        for side in ("noisy", "clean"):
            (more / side / f"{pair}.wav").unlink()
    # That is looked at again where what is trained on is another.
    assert add("again", kaldi) == 0 and "already prepared" in capsys.readouterr().err
    os.utime(data / "train" / "wav.scp", ns=(0, 0))
    assert add("again", kaldi) == 0 and "already prepared" not in capsys.readouterr().err
    os.utime(data / "train" / "wav.scp", ns=(0, before[data / "train" / "wav.scp"]))
    assert {path: path.stat().st_mtime_ns for path in before if path != data} == {
        path: time for path, time in before.items() if path != data
    }


def clean(root: Path, name: str = "p227_001") -> Path:
    return root / "clean_trainset_28spk_wav" / f"{name}.wav"


def test_bad_pairs_are_named_and_left_out_only_where_that_is_asked_for(root: Path, capsys) -> None:
    names = ["p226_001", "p227_001", "p232_001"]
    write_audio(clean(root), np.zeros(3200))
    clean(root, "p226_001").unlink()
    (root / "clean_testset_wav" / "p232_001.wav").write_bytes(b"no audio")
    assert prepare(root) == 1
    told = capsys.readouterr().err.splitlines()
    named = [line for line in told if line.startswith("prepare: bad: ")]
    assert sorted(line.split()[2].strip(":") for line in named) == names
    assert prepare(root, "--skip_bad", "true") == 0
    printed = capsys.readouterr()
    assert "train: 2 pairs" in printed.out and "1 left out" in printed.out
    data = root.parent / "data"
    record = json.loads((data / "prepare.json").read_text())
    assert sorted(name for part in record["left_out"].values() for name in part) == names
    listed = {name for part in ("train", "valid", "test") for name in
              validate_data_dir(data / part)["wav.scp"]}  # fmt: skip
    assert not listed & set(names) and len(listed) == 5
    assert prepare(root) == 1  # without the option they are bad again


def test_twins_of_two_rates_lengths_and_dual_mono_are_taken(root: Path, capsys) -> None:
    noisy = root / "noisy_trainset_28spk_wav"
    time = np.arange(9600) / 48000
    tone = 0.1 * np.sin(2 * np.pi * 500 * time)
    write_audio(noisy / "p227_001.wav", tone, 48000)
    write_audio(clean(root), tone[::3])
    write_audio(noisy / "p227_002.wav", np.stack([tone, tone], 1)[:3200])
    write_audio(clean(root, "p227_002"), tone[:3360])
    for _ in range(2):
        assert prepare(root) == 0
    assert "1 cut to the shorter" in capsys.readouterr().out
    train = validate_data_dir(root.parent / "data" / "train")
    pairs = {name: [read_audio(train[scp][name]) for scp in ("wav.scp", "spk1.scp")]
             for name in ("p227_001", "p227_002")}  # fmt: skip
    assert np.abs(np.subtract(*pairs["p227_001"]))[50:-50].max() < 2e-3
    assert np.array_equal(*pairs["p227_002"]) and len(pairs["p227_002"][0]) == 3200
    made = [Path(train["wav.scp"][name]) for name in pairs]
    before = [path.stat().st_ino for path in made]
    write_audio(root / "noisy_testset_wav" / "p232_001.wav", tone[:3200])
    assert prepare(root) == 0  # a training that reads them goes on
    assert [path.stat().st_ino for path in made] == before
    write_audio(noisy / "p227_002.wav", np.stack([tone, -tone], 1)[:3200])
    assert prepare(root) == 1
    assert "p227_002.wav has 2 channels" in capsys.readouterr().err


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/data")
def test_the_real_corpus_in_its_mixed_rates(tmp_path: Path) -> None:
    root = SHARED / "voicebank_demand"
    assert run(main, ["--db_root", str(root), "--valid_speakers", "p287", "--nj", "1"]
               + ["--output", str(tmp_path / "data")]) == 0  # fmt: skip
    counts = json.loads((tmp_path / "data" / "prepare.json").read_text())["counts"]
    assert [counts[name]["pairs"] for name in ("train", "valid", "test")] == [10, 6, 24]
    reference = SHARED / "voicebank_demand_p257_16k" / "noisy"
    for name, path in read_scp(tmp_path / "data" / "test" / "wav.scp").items():
        ours, theirs = soundfile.read(path)[0], soundfile.read(reference / f"{name}.flac")[0]
        assert np.abs(ours - theirs).max() < 1.5 / 32768


def test_zip_files_give_the_same_as_folders(root: Path, capsys) -> None:
    """The same corpus as four zip files and one of logs."""
    assert prepare(root) == 0
    conditions = (root.parent / "data" / "test" / "utt2cond").read_text()
    packed = root.parent / "packed"
    packed.mkdir()
    for path in [*root.glob("*_wav/*.wav"), *root.glob("log_*.txt")]:
        folder = "logfiles" if path.suffix == ".txt" else path.parent.name
        with zipfile.ZipFile(packed / f"{folder}.zip", "a") as file:
            file.write(path, f"{folder}/{path.name}")
    assert prepare(packed) == 0
    test = validate_data_dir(root.parent / "data" / "test")
    assert test["wav.scp"]["p232_001"].startswith(str(root.parent / "dump" / "unpacked"))
    original = root / "noisy_testset_wav" / "p232_001.wav"
    assert Path(test["wav.scp"]["p232_001"]).read_bytes() == original.read_bytes()
    assert (root.parent / "data" / "test" / "utt2cond").read_text() == conditions
    assert "6 of 11,572 training pairs, 2 of 824 test pairs" in capsys.readouterr().out
    shutil.copytree(packed, root.parent / "other", copy_function=shutil.copy)
    assert prepare(root.parent / "other", "--output", str(root.parent / "data2")) == 0
    assert prepare(packed) == 0  # other zips, of a data folder beside, were put elsewhere
    assert "already prepared" in capsys.readouterr().err


def test_pairs_in_folders_of_sets_speakers_and_dns_names(root: Path, capsys) -> None:
    corpus = root.parent / "pairs"
    for speaker in ("p1", "p2", "p3"):
        put_pair(corpus / "train", f"{speaker}/001.wav", f"{speaker}/001.flac")
        put_pair(corpus / "train", f"{speaker}/{speaker}_2.wav")
    for number in (7, 77):
        name = f"book_1_reader_0{number}_0_snr5_fileid_{number}.wav"
        put_pair(corpus / "test", name, f"clean_fileid_{number}.wav")
    (corpus / "train" / "utt2cond").write_text("p2_001 bus 5\n")
    assert prepare_folders(corpus, "--valid_speakers", "p2") == 0
    assert "speaker of its own" not in capsys.readouterr().err
    data = root.parent / "data"
    assert validate_data_dir(data / "train")["utt2spk"] == {
        "p1_001": "p1", "p1_2": "p1", "p3_001": "p3", "p3_2": "p3",
    }  # fmt: skip
    assert list(validate_data_dir(data / "valid")["wav.scp"]) == ["p2_001", "p2_2"]
    assert (data / "valid" / "utt2cond").read_text() == "p2_001\tbus\t5\n"
    test = validate_data_dir(data / "test")
    assert list(test["utt2spk"].values()) == ["reader_077", "reader_07"]
    for name, path in test["spk1.scp"].items():
        assert path == f"{corpus}/test/clean/clean_{name[name.index('fileid') :]}.wav"
    put_pair(corpus / "valid", "q_1.wav")
    (corpus / "valid" / "utt2spk").write_text("q_1 p1\n")
    assert prepare_folders(corpus) == 0
    assert validate_data_dir(data / "valid")["utt2spk"] == {"q_1": "p1"}
    for line in ("q_2 p1\n", "q_1 p1 p2\n"):  # else who validates might train
        (corpus / "valid" / "utt2spk").write_text(line)
        assert prepare_folders(corpus) == 1
        assert "utt2spk does not name one speaker for q_1 (1 such of 1)" in capsys.readouterr().err
    assert list(validate_data_dir(data / "valid")["wav.scp"]) == ["q_1"]
    shutil.rmtree(corpus / "valid")
    for name in ("p1/p1_1.wav", "p1/1.wav"):
        put_pair(corpus / "train", name)
    assert prepare_folders(corpus) == 1
    assert "the name p1_1 comes twice" in capsys.readouterr().err


def test_names_that_a_mac_has_written_find_their_twins(tmp_path, capsys) -> None:
    for seed, name in enumerate(("train", "valid", "test")):
        put_pair(tmp_path / "own" / name, f"p{seed}_u\u0308.wav", f"p{seed}_\u00fc.wav")
        put_pair(tmp_path / "own" / name, f"p{seed}_b.wav")
    (tmp_path / "own" / "test" / "utt2cond").write_text("p2_u\u0308 bus 5\n")
    (tmp_path / "own" / "train" / "utt2cond").write_text("p0 bus 5\n")
    status, told = prepare_folders(tmp_path / "own"), capsys.readouterr().err
    assert status == 0, told
    assert told.count(" names no utterance") == told.count("train/utt2cond names") == 1
    # The noisy file's spelling, which the other lists beside it have too.
    assert list(read_scp(tmp_path / "data" / "test" / "spk1.scp")) == ["p2_b", "p2_u\u0308"]
    assert (tmp_path / "data" / "test" / "utt2cond").read_text().endswith("bus\t5\n")


def test_a_name_may_be_in_two_sets_and_a_recording_in_one(tmp_path: Path, capsys) -> None:
    own = tmp_path / "own"
    for seed, name in enumerate(("train", "valid", "test")):
        put_pair(own / name, "001.wav")
        samples = 0.1 * np.random.default_rng(seed).standard_normal(800)
        write_audio(own / name / "clean" / "001.wav", samples)
    assert prepare_folders(own) == 0
    told = capsys.readouterr().err
    assert "the noisy and the clean files of train are the same" in told
    assert "same speaker: 001" in told
    copy = own / "test" / "clean" / "001.wav"
    shutil.copy(own / "train" / "clean" / "001.wav", copy)
    for _ in range(2):
        assert prepare_folders(own) == 1
        assert "001 is both in train and in test, of the same clean" in capsys.readouterr().err
        if copy.exists():
            soundfile.write(copy.with_suffix(".flac"), *soundfile.read(copy, dtype="int16"))
            copy.unlink()


def test_kaldi_archives_become_files_and_a_command_runs_only_when_allowed(root, capsys) -> None:
    source, made = root.parent / "data", root.parent / "kaldi"
    assert prepare(root) == 0
    before = {}
    for name in ("train", "valid", "test"):
        (made / name).mkdir(parents=True)
        for scp in ("wav.scp", "spk1.scp"):
            files = read_scp(source / name / scp)
            before |= {(name, scp, utt): read_audio(path) for utt, path in files.items()}
            sounds = {utt: soundfile.read(path, dtype="int16")[::-1] for utt, path in files.items()}
            where = made / name / f"{scp}.ark"
            kaldiio.save_ark(str(where), sounds, scp=str(made / name / scp))
        shutil.copy(source / name / "utt2spk", made / name)
    path = made / "train" / "wav.scp"
    sound = root / "noisy_trainset_28spk_wav" / "p227_001.wav"
    lines = path.read_text().splitlines()
    lines[0] = f"p227_001 touch {root}/ran; cat {sound} |"
    path.write_text("\n".join(lines) + "\n")
    assert prepare(made, "--corpus", "kaldi") == 1
    assert "only with --allow_pipes true" in capsys.readouterr().err
    assert not (root / "ran").exists()
    assert prepare(made, "--corpus", "kaldi", "--allow_pipes", "true") == 0
    assert (root / "ran").exists()
    test = validate_data_dir(source / "test")
    assert test["wav.scp"]["p232_001"].startswith(str(root.parent / "dump" / "wav16k"))
    for (name, scp, utt), samples in before.items():
        assert np.array_equal(read_audio(read_scp(source / name / scp)[utt]), samples)
    speakers = read_scp(source / "train" / "utt2spk")
    assert speakers == {"p227_001": "p227", "p227_002": "p227", "p228_001": "p228"}


def test_kaldi_segments_are_cut(root: Path, capsys) -> None:
    """Of recordings that hold a set's utterances one after the other."""
    data, made = root.parent / "data", root.parent / "recordings"
    assert prepare(root) == 0
    before = {name: validate_data_dir(data / name) for name in ("train", "valid", "test")}
    sounds = {}
    for name, lists in before.items():
        folder = made / name
        folder.mkdir(parents=True)
        for scp in ("wav.scp", "spk1.scp"):
            sounds |= {(scp, utt): read_audio(path) for utt, path in lists[scp].items()}
            whole = [sounds[scp, utt] for utt in lists[scp]]
            write_audio(folder / f"{scp}.wav", np.concatenate(whole))
            (folder / scp).write_text(f"call {folder}/{scp}.wav\n")
        segments = [f"{utt} call {0.2 * i:.2f} {0.2 * i + 0.2:.2f}\n"
                    for i, utt in enumerate(lists["wav.scp"])]  # fmt: skip
        (folder / "segments").write_text("".join(segments))
        (folder / "utt2spk").write_text("".join(f"{u} {s}\n" for u, s in lists["utt2spk"].items()))
    assert prepare(made, "--corpus", "kaldi") == 0
    for name, lists in before.items():
        after = validate_data_dir(data / name)
        assert after["utt2spk"] == lists["utt2spk"]
        for scp in ("wav.scp", "spk1.scp"):
            assert list(after[scp]) == list(lists[scp])
            for utt, path in after[scp].items():
                assert np.abs(read_audio(path) - sounds[scp, utt]).max() <= 1 / 32768, (scp, utt)
    (made / "test" / "segments").write_text("p232_001 call 0.3 1.0\n")
    assert prepare(made, "--corpus", "kaldi") == 1
    assert "wav.scp.wav ends at 0.4 s, before 1.0 s" in capsys.readouterr().err
    # Another cut of the same recording is another utterance.
    (made / "test" / "segments").write_text("p232_001 call 0.05 -1\n")
    assert prepare(made, "--corpus", "kaldi") == 0
    assert len(read_audio(validate_data_dir(data / "test")["wav.scp"]["p232_001"])) == 6400 - 800
    # One that spans its recording, or goes a little beyond, is no cut.
    for end in ("0.4", "0.5"):
        (made / "test" / "segments").write_text(f"p232_001 call 0.0 {end}\n")
        assert prepare(made, "--corpus", "kaldi") == 0
        listed = validate_data_dir(data / "test")["wav.scp"]["p232_001"]
        assert listed == str(made / "test" / "wav.scp.wav")


def test_one_talkers_pairs_have_the_fingerprint_that_they_had(tmp_path: Path) -> None:
    # Of 0.2.0: an experiment that was trained there goes on, and is not taken for another's.
    pairs = [Utterance("a", str(tmp_path / "a.wav"), "/none/b.wav", "p1", span=(0.5, 1.0))]
    told = (
        f"Utterance(name='a', noisy='{tmp_path}/a.wav', clean='/none/b.wav', speaker='p1',"
        " seconds=0.0, condition=None, cut=0, span=(0.5, 1.0), channel=None)"
    )
    want = stamp([Path("/none/log"), str(tmp_path / "a.wav"), "/none/b.wav", told])
    assert _fingerprint(CorpusSet(pairs, Path("/none/log"), "test")) == want


def wide(corpus: Path, level: float) -> list[str]:
    """A corpus in folders, of 48 kHz and of the same names and times whatever its level."""
    for name in ("train", "valid", "test"):
        for kind in ("noisy", "clean"):
            path = corpus / name / kind / f"{name}_1.wav"
            write_audio(path, level + 0.01 * np.sin(np.arange(9600)), 48000)
            os.utime(path, (1e9, 1e9))
    return ["--corpus", "folders", "--db_root", str(corpus), "--nj", "1"]


def heard(data: Path) -> float:
    return round(float(read_audio(read_scp(data / "test" / "wav.scp")["test_1"])[1600]), 1)


def test_a_corpus_of_ones_own_is_checked_before_any_work(root: Path, tmp_path: Path) -> None:
    pairs = find_pairs(root / "noisy_testset_wav", root / "clean_testset_wav")
    for name, made in ("valid has no pair", []), ("p232_001 comes twice in valid", pairs[:1] * 2):
        sets = {"test": pairs, "valid": made}
        listed = {key: CorpusSet(found, tmp_path / "none", key) for key, found in sets.items()}
        with pytest.raises(FeatnormError, match=name):
            prepare_sets(listed, tmp_path / "own", tmp_path / "wav")
        assert not (tmp_path / "own").exists()


def test_a_corpus_is_never_cleared_or_written_over(tmp_path: Path, capsys) -> None:
    options = [*wide(tmp_path / "corp", 0.1), "--output", str(tmp_path / "d")]
    assert run(main, [*options, "--wav_dir", str(tmp_path / "corp")]) == 0
    assert soundfile.info(tmp_path / "corp" / "test" / "noisy" / "test_1.wav").frames == 9600
    made = Path(read_scp(tmp_path / "d" / "test" / "wav.scp")["test_1"])
    options = [*wide(made.parents[3] / "x", 0.2), *options[4:], "--wav_dir", str(tmp_path / "corp")]
    assert run(main, options) == 1
    assert "noisy/train_1.wav lies where converted files go" in capsys.readouterr().err
    inside = made.parents[3] / "x" / "test" / "noisy" / "test_1.wav"
    assert (soundfile.info(inside).frames, soundfile.info(made).frames) == (9600, 3200)


def test_two_data_folders_share_no_converted_file(tmp_path: Path, capsys) -> None:
    more = ["--wav_dir", str(tmp_path / "wav16k"), "--output"]
    for level in (0.1, 0.3):
        corpus = wide(tmp_path / str(level), level)
        assert run(main, [*corpus, *more, str(tmp_path / f"data{level}")]) == 0
    assert [heard(tmp_path / f"data{level}") for level in (0.1, 0.3)] == [0.1, 0.3]
    with locked(tmp_path / "data0.3" / "prepare"):  # in it: what is around may not be writable
        assert run(main, [*corpus, *more, str(tmp_path / "data0.3")]) == 1
    assert f"another run is writing {tmp_path}/data0.3:" in capsys.readouterr().err
    same = [*corpus, *more, more[1]]  # one folder for all waits for no other run
    assert run(main, same) == 0


def test_a_copy_of_another_source_of_that_name_and_time_is_not_taken(tmp_path: Path) -> None:
    for level in (0.1, 0.3):
        corpus = wide(tmp_path / str(level), level)
        assert run(main, [*corpus, "--output", str(tmp_path / "data")]) == 0
        assert heard(tmp_path / "data") == level
    # Nor does one that is refused write over what the lists name.
    corpus = wide(tmp_path / "bad", 0.2)
    (tmp_path / "bad" / "valid" / "clean" / "valid_1.wav").write_bytes(b"no audio")
    assert run(main, [*corpus, "--output", str(tmp_path / "data")]) == 1
    assert heard(tmp_path / "data") == 0.3


@pytest.mark.parametrize("swapped", [False, True])
def test_noisy_and_clean_folders_that_are_swapped_are_told(root: Path, capsys, swapped) -> None:
    rng = np.random.default_rng(2)
    noisy, clean = ("clean", "noisy") if swapped else ("noisy", "clean")
    for name in (*NAMES["testset"], "p232_003"):
        speech = 0.1 * rng.standard_normal(6400) * np.repeat([1, 0], 3200)
        write_audio(root / f"{clean}_testset_wav" / f"{name}.wav", speech)
        write_audio(root / f"{noisy}_testset_wav" / f"{name}.wav", speech + 0.02 * rng.random(6400))
    assert prepare(root) == 0
    assert ("in test, most noisy files have deeper pauses" in capsys.readouterr().err) == swapped


def test_files_that_are_shifted_or_of_other_speech_are_told(root: Path, capsys) -> None:
    rng = np.random.default_rng(3)
    late, other = 0.1 * rng.standard_normal((2, 40000))
    pairs = {
        "p232_001": (late[:36000], late[:36000]),
        "p232_002": (late[1000:37000], late[1040:37040]),  # 40 samples late
        "p232_003": (late[123:36123], late[:36000]),
        "p232_004": (late[:36000], other[:36000]),
        "p232_005": (late[:20000], other[:20000]),  # too short to tell
    }
    for name, (noisy, clean) in pairs.items():
        write_audio(root / "clean_testset_wav" / f"{name}.wav", clean)
        noise = 0.1 * rng.standard_normal(len(noisy))
        write_audio(root / "noisy_testset_wav" / f"{name}.wav", noisy + noise)
    assert prepare(root) == 0
    told = capsys.readouterr().err
    assert "in test, 3 noisy files are later (+) or earlier" in told
    assert told.endswith("p232_002 (+2.50 ms), p232_003 (-7.69 ms), p232_004 (not alike)\n")
    # Of a long recording, the minute with the most speech.
    long = np.concatenate([np.zeros(1_000_000), late, np.zeros(200)])
    assert find_shift(long[:-80], long[80:]) == 80 / 16000
    assert np.isnan(find_shift(np.zeros(40000, "float32"), late.astype("float32")))


@pytest.mark.parametrize("ends", [("_noisy", ""), ("_noisy", "_clean"), ("_snr_low", "_ref")])
def test_twins_may_end_in_words_of_their_own(tmp_path: Path, ends: tuple[str, str]) -> None:
    for side, end in zip(("noisy", "clean"), ends, strict=True):
        for name in ("p1_a", "p1_b"):
            write_audio(tmp_path / side / f"{name}{end}.wav", np.zeros(9))
    write_audio(tmp_path / "clean" / f"p1_c{ends[1]}.wav", np.zeros(9))  # without a noisy twin
    *found, odd = find_pairs(tmp_path / "noisy", tmp_path / "clean")
    assert not odd.noisy and odd.speaker == "p1"
    assert [pair.name for pair in found] == [f"p1_a{ends[0]}", f"p1_b{ends[0]}"]
    assert all(Path(pair.clean).stem.startswith(pair.name[:4]) for pair in found)


def test_recordings_that_end_in_another_number_are_no_twins(tmp_path: Path) -> None:
    for name in ("p1", "p2"):
        put_pair(tmp_path, f"{name}_001.wav", f"{name}_002.wav")
    with pytest.raises(FeatnormError, match="have no name in common"):
        find_pairs(tmp_path / "noisy", tmp_path / "clean")
