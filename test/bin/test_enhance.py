"""The command ``featnorm-se enhance``: files, folders, pipes, and exit statuses."""

import errno
import io
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from tiny_models import save_tiny

from featnorm_se.bin.main import main
from featnorm_se.files import locked
from featnorm_se.inference import model_file
from featnorm_se.report.pack import pack


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("exp") / "tiny")


def write(path: Path, seconds: float = 0.5, rate: int = 16000, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    x = np.random.default_rng(seed).normal(size=round(seconds * rate)) * 0.1
    soundfile.write(path, x, rate)
    return path


def enhance(model: Path, *arguments: object) -> int:
    return main(["enhance", *map(str, arguments), "--model", str(model)])


def tree(folder: Path) -> list[str]:
    """Files below a folder, without the command's own record."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(str(path) for path in found if not path.name.startswith("."))


def test_a_folder_keeps_its_tree_and_bad_files_do_not_stop_it(model, tmp_path, capsys):
    top = tmp_path / "in"
    for name in ("a.wav", "b/c.flac", "b/d/e.ogg"):
        write(top / name)
    (top / "b" / "text.wav").write_text("no audio")
    (top / "notes.txt").write_text("not touched")
    (top / "b" / "loop").symlink_to(top)
    (top / "self.wav").symlink_to("self.wav")
    assert enhance(model, top, "-o", tmp_path / "out") == 1
    printed = capsys.readouterr().err
    assert tree(tmp_path / "out") == ["a.wav", "b/c.flac", "b/d/e.ogg"]
    assert "3 enhanced, 2 failed" in printed
    assert "text.wav is no audio" in printed
    assert "2 of 5 files failed" in printed.splitlines()[-1]
    assert "files passed over, which do not end like audio: 1 .txt\n" in printed


def test_a_second_run_does_only_what_is_missing_or_stale(model, tmp_path, capsys, monkeypatch):
    top, out = tmp_path / "in", tmp_path / "out"
    for name in ("a.wav", "b.wav", "c.wav", "d.wav"):
        write(top / name)
    assert enhance(model, top, "-o", out) == 0
    (out / "b.wav").unlink()
    write(top / "c.wav", 0.7)
    later = (out / "d.wav").stat().st_mtime + 10
    os.utime(top / "d.wav", (later, later))
    before = (out / "a.wav").stat().st_mtime_ns
    capsys.readouterr()
    assert enhance(model, top, "-o", out) == 0
    assert "3 enhanced, 1 skipped" in capsys.readouterr().err
    monkeypatch.chdir(tmp_path / "in")
    for same, count in ((".", 4), ("../in", 4), ("../in/a.wav", 1)):  # under other names
        assert enhance(model, same, "-o", out) == 0
        assert f"{count} skipped" in capsys.readouterr().err
    assert (out / "a.wav").stat().st_mtime_ns == before
    assert soundfile.info(out / "c.wav").frames == 11200
    assert enhance(model, top, "-o", out, "--overwrite") == 0
    assert "4 enhanced:" in capsys.readouterr().err


def test_a_folder_that_another_run_writes_is_named(model, tmp_path, capsys):
    top, out = write(tmp_path / "in" / "a.wav").parent, tmp_path / "out"
    with locked(out / "enhance"):
        assert enhance(model, top, "-o", out) == 1
    assert f"another run is writing {out}: wait for it" in capsys.readouterr().err


def test_files_of_another_model_other_options_or_somebody_else_stay(model, tmp_path, capsys):
    top, out = write(tmp_path / "in" / "a.wav").parent, tmp_path / "out"
    original = write(out / "a.wav", seed=9).read_bytes()
    assert enhance(model, top, "-o", out) == 1
    assert (out / "a.wav").read_bytes() == original
    assert enhance(model, top, "-o", out, "--overwrite") == 0
    other = save_tiny(tmp_path / "other", "fbank")
    enhanced = (out / "a.wav").read_bytes()
    for arguments in ((other,), (model, "--stats", "window"), (model, "--atten_lim", "20")):
        capsys.readouterr()
        assert enhance(arguments[0], top, "-o", out, *arguments[1:]) == 1
        assert "a.wav was not made by this version from" in capsys.readouterr().err
        assert (out / "a.wav").read_bytes() == enhanced
    namesake = write(tmp_path / "day2" / "a.wav", seed=3).parent
    assert enhance(model, namesake, "-o", out) == 1, "what is there is of another recording"
    assert f"from {namesake}/a.wav with this model" in capsys.readouterr().err
    assert (out / "a.wav").read_bytes() == enhanced
    assert enhance(other, top, "-o", out, "--overwrite") == 0
    assert (out / "a.wav").read_bytes() != enhanced


def test_the_output_may_lie_in_the_input(model, tmp_path):
    write(tmp_path / "a.wav")
    for _ in range(2):
        assert enhance(model, tmp_path, "-o", tmp_path / "out") == 0
    assert tree(tmp_path) == ["a.wav", "out/a.wav"]


def test_several_inputs(model, tmp_path, capsys):
    write(tmp_path / "one" / "a.wav")
    write(tmp_path / "two" / "a.wav")
    single = write(tmp_path / "b.wav")
    inputs = (tmp_path / "one", tmp_path / "two", single)
    assert enhance(model, *inputs, "-o", tmp_path / "out", "--save_noise") == 0
    names = [f"{top}/a{middle}.wav" for top in ("one", "two") for middle in ("", ".noise")]
    assert tree(tmp_path / "out") == sorted([*names, "b.wav", "b.noise.wav"])
    assert enhance(model, single, "-o", f"{tmp_path}/new/") == 0  # a folder that is not there yet
    assert tree(tmp_path / "new") == ["b.wav"]
    twice = (tmp_path / "one" / "a.wav", tmp_path / "two" / "a.wav")
    assert enhance(model, *twice, "-o", tmp_path / "out2") == 1
    assert "would both go to" in capsys.readouterr().err


def test_recordings_of_phones_and_pipes_are_decoded(model, tmp_path, monkeypatch, capsys):
    """A stand-in for ffmpeg copies."""
    top = write(tmp_path / "in" / "x.wav").parent
    (top / "phone.m4a").write_bytes((top / "x.wav").read_bytes())
    # What was written to a pipe has no length in its header.
    good = top / "x.wav"
    for name in ("piped.mp3", "piped.flac"):
        soundfile.write(top / name, *soundfile.read(good))
    mp3, flac = (top / "piped.mp3").read_bytes(), (top / "piped.flac").read_bytes()
    (top / "piped.flac").write_bytes(flac[:22] + bytes(4) + flac[26:])
    (top / "piped.mp3").write_bytes(mp3.replace(b"Info", bytes(4)).replace(b"Xing", bytes(4)))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert enhance(model, top, "-o", tmp_path / "none") == 1
    assert (
        capsys.readouterr().err.count("in its header: install ffmpeg") == 3
    )  # the last line repeats one
    ffmpeg = tmp_path / "bin" / "ffmpeg"
    ffmpeg.parent.mkdir()
    ffmpeg.write_text(f'#!/bin/sh\n/bin/cp {good} "${{9}}"; echo "[x @ 0x$$] ended early" >&2\n')
    ffmpeg.chmod(0o755)
    monkeypatch.setenv("PATH", str(ffmpeg.parent))
    assert enhance(model, top, "-o", tmp_path / "out") == 0
    assert capsys.readouterr().err.count("is used, but ffmpeg says: [x] ended early") == 3
    assert tree(tmp_path / "out") == ["phone.wav", "piped.flac", "piped.mp3", "x.wav"]
    assert (tmp_path / "out/phone.wav").read_bytes() == (tmp_path / "out/x.wav").read_bytes()
    assert soundfile.info(tmp_path / "out/piped.flac").frames == soundfile.info(good).frames


def test_two_processes_give_what_one_gives(model, tmp_path, capsys):
    for seed in range(3):
        write(tmp_path / "in" / f"{seed}.wav", seed=seed)
    (tmp_path / "in" / "odd.wav").touch()
    for nj in (1, 2):
        assert enhance(model, tmp_path / "in", "-o", tmp_path / f"{nj}", "--nj", nj) == 1
        assert "3 enhanced, 1 failed" in capsys.readouterr().err
    for seed in range(3):
        one, two = (soundfile.read(tmp_path / n / f"{seed}.wav", dtype="int16")[0] for n in "12")
        assert np.abs(one.astype(int) - two).max() <= 1


def test_a_pipe(model, tmp_path, monkeypatch):
    source = write(tmp_path / "x.flac", rate=8000)
    stdout = SimpleNamespace(buffer=io.BytesIO())
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(source.read_bytes())))
    monkeypatch.setattr(sys, "stdout", stdout)
    assert enhance(model, "-", "-o", "-") == 0
    stdout.buffer.seek(0)
    assert enhance(model, source, "-o", tmp_path / "y.flac") == 0
    piped, rate = soundfile.read(stdout.buffer, dtype="int16")
    assert rate == 8000
    np.testing.assert_array_equal(piped, soundfile.read(tmp_path / "y.flac", dtype="int16")[0])


def test_names_with_anything_in_them(model, tmp_path, capsys):
    write(tmp_path / "in" / "a\nb é.wav")
    latin = os.fsdecode(b"caf\xe9")
    (tmp_path / "in" / latin).mkdir()
    for name in (f"{latin}.wav", f"{latin}/x.wav"):
        (tmp_path / "in" / name).write_bytes((tmp_path / "in" / "a\nb é.wav").read_bytes())
    (tmp_path / "in" / "c\x1b[2J.wav").write_text("no audio")
    assert enhance(model, tmp_path / "in", "-o", tmp_path / "out") == 1
    assert tree(tmp_path / "out") == ["a\nb é.wav", f"{latin}.wav", f"{latin}/x.wav"]
    printed = capsys.readouterr().err
    assert "\x1b" not in printed and r"c\x1b[2J.wav is no audio" in printed


@pytest.mark.parametrize("at", [2, 3, 4])
def test_a_rename_that_fails_leaves_nothing_that_is_refused(model, tmp_path, monkeypatch, at):
    command = (model, write(tmp_path / "in" / "a.wav").parent, "-o", tmp_path / "out")
    left, rename = [at], os.replace

    def full(old, new):
        left[0] -= 1
        if left[0] == 0:
            raise OSError(errno.ENOSPC, "no space")
        rename(old, new)

    with monkeypatch.context() as there:
        there.setattr(os, "replace", full)
        assert enhance(*command, "--save_noise") == 1
    assert enhance(*command, "--save_noise") == 0


def test_without_a_model_the_shipped_one_is_used_and_named(model, tmp_path, capsys, monkeypatch):
    shipped = tmp_path / "models" / "default.zip"
    shipped.parent.mkdir()
    pack(model, shipped)
    monkeypatch.setattr(model_file, "SHIPPED", shipped)
    source = write(tmp_path / "in" / "a.wav")
    assert main(["enhance", str(source.parent), "-o", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().err.splitlines()
    assert printed[0] == f"model: {shipped}, shipped with featnorm_se"
    # A folder remembers the weights, not how they were named.
    assert enhance(shipped, source.parent, "-o", tmp_path / "out") == 0
    assert "1 skipped" in capsys.readouterr().err


def test_no_recording_is_written_over(model, tmp_path, capsys):
    """By the noise of another, by another file's twin, or where somebody else's file is."""
    source = tmp_path / "in"
    write(source / "x.wav")
    write(source / "x.noise.wav", seed=1)
    mine = write(tmp_path / "out" / "x.noise.wav", seed=2).read_bytes()
    assert enhance(model, source / "x.noise.wav", "-o", source / "x.wav", "--save_noise") == 1
    assert enhance(model, source, "-o", tmp_path / "new", "--save_noise") == 1
    assert enhance(model, source / "x.wav", "-o", tmp_path / "out", "--save_noise") == 1
    lines = capsys.readouterr().err.splitlines()
    errors = [line for line in lines if "error:" in line]
    for words, line in zip(("over itself", "both go to", "not made by"), errors, strict=True):
        assert words in line
    assert (tmp_path / "out" / "x.noise.wav").read_bytes() == mine
    assert not (tmp_path / "new").exists()


def test_overwrite_keeps_what_it_cannot_replace(model, tmp_path):
    source, output = write(tmp_path / "in" / "x.wav"), tmp_path / "out"
    assert enhance(model, source.parent, "-o", output) == 0
    before = (output / "x.wav").read_bytes()
    source.write_text("no audio any more")
    assert enhance(model, source.parent, "-o", output, "--overwrite") == 1
    assert (output / "x.wav").read_bytes() == before
