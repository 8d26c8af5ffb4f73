"""scp files, and what a value may be: a path, a place in a Kaldi archive, a command."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import kaldiio
import numpy as np
import pytest
import soundfile

from featnorm_se.data.audio import audio_info, read_any_audio, read_audio
from featnorm_se.data.scp import is_command, read_scp, split_archive, write_scp
from featnorm_se.errors import FeatnormError


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
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "sprung"),)

    (tmp_path / "a.ark").write_bytes(b"utt PKL" + pickle.dumps(Trap()))
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


def test_readers_never_run_a_command(tmp_path: Path) -> None:
    for value in (f"touch {tmp_path}/sprung |", f"| touch {tmp_path}/sprung"):
        assert is_command(value)
        for read in (read_audio, audio_info):
            with pytest.raises(FeatnormError, match="is not run"):
                read(value)
    assert not (tmp_path / "sprung").exists()


def test_a_command_that_may_run_gives_its_audio(tmp_path: Path, samples) -> None:
    soundfile.write(tmp_path / "a b.wav", samples, 16000)
    heard, rate = read_any_audio(f"cat '{tmp_path}/a b.wav' |", allow_pipes=True)
    assert rate == 16000 and np.array_equal(heard[:, 0], samples.astype(np.float32) / 32768)
    for command, said in (
        ("echo sorry >&2; exit 3 |", "fails \\(3\\): sorry"),
        (f"cat {tmp_path}/none | cat |", "fails"),
        ("echo hello |", "is no audio"),
    ):
        with pytest.raises(FeatnormError, match=said):
            read_any_audio(command, allow_pipes=True)
