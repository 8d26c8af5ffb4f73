"""Lists: folders, names, logs; scp files, and what a value may be besides a path."""

import os
import pickle
import re
import textwrap
from pathlib import Path

import kaldiio
import numpy as np
import pytest
import soundfile
from bad_inputs_world import Payload

from featnorm_se.config import read_config
from featnorm_se.data.audio import audio_info, read_any_audio, read_audio, write_audio
from featnorm_se.data.corpus import CorpusSet, find_pairs, match_names, read_listing
from featnorm_se.data.datadir import read_log, validate_data_dir
from featnorm_se.data.prepare import prepare_sets
from featnorm_se.data.scp import read_scp, split_archive, write_scp
from featnorm_se.errors import FeatnormError
from featnorm_se.files import read_json
from featnorm_se.report.experiments import read_scores


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_a_folders_files_and_what_is_passed_over_in_one_line(tmp_path: Path, capsys) -> None:
    touch(tmp_path, "a.wav", "spk/b.FLAC", "b.txt", "spk/c.txt", "spk/README")
    touch(tmp_path, ".hidden/c.wav", ".1.tmp.d.wav")
    (tmp_path / "spk" / "loop").symlink_to(tmp_path)
    found = {"a": str(tmp_path / "a.wav"), "spk/b": str(tmp_path / "spk/b.FLAC")}
    assert read_listing(tmp_path) == found
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].endswith("do not end like audio: 2 .txt, 1 README")


@pytest.mark.parametrize(
    ("names", "twins", "found", "rule"),
    [
        (["a", "b_x"], ["a", "b"], {"a": "a", "b_x": "b_x"}, ""),
        (["a_x", "b_x", "c"], ["a", "b", "c_"], {"a_x": "a", "b_x": "b", "c": "c"}, "_x"),
        # Not one for one: nothing is guessed.
        (["n_fileid_1", "m_fileid_1"], ["clean_fileid_1"],
         {"n_fileid_1": "n_fileid_1", "m_fileid_1": "m_fileid_1"}, ""),
    ],
)  # fmt: skip
def test_names_find_their_twins(names, twins, found, rule) -> None:
    assert match_names(names, twins) == (found, rule)


def test_an_scp_with_paths_from_here_or_beside_it(tmp_path, monkeypatch):
    touch(tmp_path, "data/near.wav", "here.wav")
    (tmp_path / "data/wav.scp").write_text("a here.wav\nb near.wav\nc gone.wav\n")
    monkeypatch.chdir(tmp_path)
    found = read_listing("data/wav.scp")
    assert found == {"a": "here.wav", "b": str(Path("data/near.wav")), "c": "gone.wav"}


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path: Path, newline: str) -> None:
    """Windows' editors write one: in silence it made the first utterance another one."""

    def written(text: str) -> Path:
        path = tmp_path / "file"
        path.write_bytes(text.replace("\n", newline).encode("utf-8-sig"))
        return path

    assert read_log(written("u1 café 0\nu2 bus 5\n")) == {"u1": ("café", 0.0), "u2": ("bus", 5.0)}
    assert read_scp(written("u1 a.wav\nu2 b.wav\n")) == {"u1": "a.wav", "u2": "b.wav"}
    assert read_json(written('{"a": 1}\n')) == read_config(written("a: 1\n")) == {"a": 1}
    assert read_scores(written("utt_id,STOI,reason\nu1,0.5,\n")) == {"u1": {"STOI": 0.5}}


def test_a_noise_of_two_words_and_no_number(tmp_path: Path) -> None:
    path = tmp_path / "utt2cond"
    path.write_text("u1\tair conditioner\t5\nu2 bus\t-inf\n")
    assert read_log(path) == {"u1": ("air conditioner", 5.0), "u2": ("bus", float("-inf"))}
    path.write_text("u1 bus nan\n")
    with pytest.raises(FeatnormError, match="line 1 is not 'utterance noise SNR': 'u1 bus nan'"):
        read_log(path)


def test_the_function_of_the_document_works(tmp_path: Path) -> None:
    """doc/new_corpus.md holds what it promises: its function prepares."""
    page = (Path(__file__).parents[2] / "doc" / "new_corpus.md").read_text()
    block = re.search(r"^( +)def find_mycorpus.*?(?=^\S|^ {0,3}`)", page, re.M | re.S)
    given = {"Path": Path, "CorpusSet": CorpusSet, "find_pairs": find_pairs}
    exec(textwrap.dedent(block[0]), given)
    rng = np.random.default_rng(0)
    for name, speaker in (("train", "a"), ("valid", "b"), ("test", "c")):
        for kind in ("noisy", "clean"):
            path = tmp_path / "corpus" / name / kind / f"{speaker}_1.wav"
            write_audio(path, 0.1 * rng.standard_normal(4800), 48000)
    (tmp_path / "corpus" / "test" / "conditions.txt").write_text("c_1 car 5\n")
    sets = given["find_mycorpus"](tmp_path / "corpus")
    record = prepare_sets(sets, tmp_path / "data", tmp_path / "wav")
    assert [record["counts"][name]["pairs"] for name in ("train", "valid", "test")] == [1, 1, 1]
    assert record["counts"]["test"]["with_condition"] == 1
    listed = validate_data_dir(tmp_path / "data" / "test")
    assert listed["utt2spk"] == {"c_1": "c"}
    assert (tmp_path / "data" / "test" / "utt2cond").read_text() == "c_1\tcar\t5\n"


# ---- scp files


def test_scp_is_sorted_by_bytes_and_keeps_spaces_in_paths(tmp_path: Path) -> None:
    entries = {"b": "/a place/b.wav", "B": "x", "a_1": "y", "a1": "z"}
    write_scp(tmp_path / "x.scp", entries)
    assert list(read_scp(tmp_path / "x.scp")) == ["B", "a1", "a_1", "b"]
    assert read_scp(tmp_path / "x.scp") == entries


@pytest.mark.parametrize("entries", [{"a b": "x"}, {"../a": "x"}, {"a": " "}, {"a": "x\ny"}])
def test_what_kaldi_cannot_carry_is_not_written(tmp_path: Path, entries: dict[str, str]) -> None:
    with pytest.raises(FeatnormError):
        write_scp(tmp_path / "x.scp", entries)
    assert not (tmp_path / "x.scp").exists()


@pytest.fixture
def samples() -> np.ndarray:
    return np.random.default_rng(0).integers(-20000, 20000, 1600).astype(np.int16)


@pytest.mark.parametrize("function", [None, "soundfile"])
def test_an_archive_gives_the_very_samples(tmp_path: Path, samples, function) -> None:
    kaldiio.save_ark(
        str(tmp_path / "a.ark"),
        {"one": (16000, samples), "two": (16000, samples[:700])},
        scp=str(tmp_path / "a.scp"),
        write_function=function,
    )
    values = read_scp(tmp_path / "a.scp")
    assert np.array_equal(read_audio(values["one"]), samples.astype(np.float32) / 32768)
    assert len(read_audio(values["two"])) == 700
    info = audio_info(values["two"])
    assert (info.frames, info.sample_rate, info.channels) == (700, 16000, 1)


def test_a_pickle_in_an_archive_is_not_run(tmp_path: Path) -> None:
    trap = pickle.dumps(Payload(tmp_path / "sprung"))
    (tmp_path / "a.ark").write_bytes(b"utt PKL" + trap)
    with pytest.raises(FeatnormError, match="no audio in a Kaldi archive"):
        read_audio(f"{tmp_path}/a.ark:4")
    assert not (tmp_path / "sprung").exists()


def test_a_cut_archive_is_told(tmp_path: Path, samples) -> None:
    kaldiio.save_ark(str(tmp_path / "a.ark"), {"one": (16000, samples)})
    (tmp_path / "a.ark").write_bytes((tmp_path / "a.ark").read_bytes()[:600])
    with pytest.raises(FeatnormError, match="a.ark:4 is cut short"):
        read_audio(f"{tmp_path}/a.ark:4")


def test_a_file_named_like_a_place_is_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.wav:12"
    path.write_bytes(b"x")
    assert split_archive(path) is None
    assert split_archive("x/b.ark:12") == (Path("x/b.ark"), 12)
    assert split_archive("x/b.ark") is None and split_archive("cat b.ark:12 |") is None


def test_a_command_that_may_run_gives_its_audio(tmp_path: Path, samples) -> None:
    soundfile.write(tmp_path / "a b.wav", samples, 16000)
    heard, rate = read_any_audio(f"cat '{tmp_path}/a b.wav' |", allow_pipes=True)
    assert rate == 16000 and np.array_equal(heard[:, 0], samples.astype(np.float32) / 32768)
    for command in ("echo sorry >&2; exit 3 |", f"cat {tmp_path}/none | cat |"):
        with pytest.raises(FeatnormError, match="fails"):
            read_any_audio(command, allow_pipes=True)


def test_what_is_started_leaves_stdin_to_the_shells_loop(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "ffmpeg").write_text("#!/bin/sh\ncat > /dev/null\n")
    (tmp_path / "ffmpeg").chmod(0o755)
    (tmp_path / "x.m4a").touch()
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    (tmp_path / "list").write_text("one\ntwo\n")
    with open(tmp_path / "list") as given:
        kept = os.dup(0)
        os.dup2(given.fileno(), 0)
        for value in (str(tmp_path / "x.m4a"), "cat > /dev/null |"):
            with pytest.raises(FeatnormError):
                read_any_audio(value, allow_pipes=True)
        left = os.read(0, 99)
        os.dup2(kept, 0)
    assert left == b"one\ntwo\n"


def test_a_folder_of_either_side_names_the_speaker(tmp_path):
    touch(tmp_path, "noisy/84-121-0.wav", "clean/84/121/84-121-0.wav")
    (pair,) = find_pairs(tmp_path / "noisy", tmp_path / "clean")
    assert (pair.name, pair.speaker) == ("84-121-0", "84")
