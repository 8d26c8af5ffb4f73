"""What an scp's value may be: a path, a place in a Kaldi archive, a command."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import kaldiio
import numpy as np
import pytest
import soundfile

from featnorm_se.data.audio import audio_info, read_audio
from featnorm_se.data.entry import is_command, run_command, split_archive
from featnorm_se.errors import FeatnormError


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
    values = dict(line.split() for line in (tmp_path / "a.scp").read_text().splitlines())
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


def test_bad_places_are_told(tmp_path: Path, samples) -> None:
    kaldiio.save_ark(str(tmp_path / "a.ark"), {"one": (16000, samples)})
    content = (tmp_path / "a.ark").read_bytes()
    (tmp_path / "cut.ark").write_bytes(content[:600])
    for value, said in (
        (f"{tmp_path}/none.ark:4", "No such file"),
        (f"{tmp_path}/a.ark:9", "no audio in a Kaldi archive"),
        (f"{tmp_path}/a.ark:999999", "no audio in a Kaldi archive"),
    ):
        with pytest.raises(FeatnormError, match=said):
            read_audio(value)
    with pytest.raises(FeatnormError, match="cut.ark:4 is cut short"):
        read_audio(f"{tmp_path}/cut.ark:4")


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
    heard, rate = run_command(f"cat '{tmp_path}/a b.wav' |")
    assert rate == 16000 and np.array_equal(heard[:, 0], samples.astype(np.float32) / 32768)
    with pytest.raises(FeatnormError, match="fails \\(3\\): sorry"):
        run_command("echo sorry >&2; exit 3 |")
    with pytest.raises(FeatnormError, match="prints no audio"):
        run_command("echo hello |")
    with pytest.raises(FeatnormError, match="fails"):
        run_command(f"cat {tmp_path}/none | cat |")
