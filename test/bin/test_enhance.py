"""The command ``featnorm-se enhance``: files, folders, pipes, and exit statuses."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from tiny_models import save_tiny

from featnorm_se import Enhancer
from featnorm_se.bin.main import main


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


def test_one_file(model, tmp_path, capsys):
    source = write(tmp_path / "x.wav", rate=44100)
    assert enhance(model, source, "-o", tmp_path / "deep" / "y.wav") == 0
    assert "1 enhanced: 0.5 s of audio" in capsys.readouterr().err
    x, rate = soundfile.read(source, dtype="float32")
    y, _ = soundfile.read(tmp_path / "deep" / "y.wav", dtype="float32")
    np.testing.assert_allclose(y, Enhancer.from_pretrained(model)(x, rate), atol=1e-4)


def test_a_folder_keeps_its_tree_and_bad_files_do_not_stop_it(model, tmp_path, capsys):
    top = tmp_path / "in"
    for name in ("a.wav", "b/c.flac", "b/d/e.ogg"):
        write(top / name)
    (top / "b" / "text.wav").write_text("no audio")
    (top / "notes.txt").write_text("not touched")
    (top / "b" / "loop").symlink_to(top)
    (top / "self.wav").symlink_to("self.wav")
    assert enhance(model, top, "-o", tmp_path / "out") == 1
    told = capsys.readouterr().err
    assert tree(tmp_path / "out") == ["a.wav", "b/c.flac", "b/d/e.ogg"]
    assert "3 enhanced, 2 failed" in told
    assert "text.wav is no audio" in told
    assert "2 of 5 files failed" in told.splitlines()[-1]


def test_a_second_run_does_only_what_is_missing_or_stale(model, tmp_path, capsys):
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
    assert (out / "a.wav").stat().st_mtime_ns == before
    assert soundfile.info(out / "c.wav").frames == 11200
    assert enhance(model, top, "-o", out, "--overwrite") == 0
    assert "4 enhanced:" in capsys.readouterr().err


def test_files_of_another_model_are_not_taken_for_done(model, tmp_path, capsys):
    top, out = write(tmp_path / "in" / "a.wav").parent, tmp_path / "out"
    assert enhance(model, top, "-o", out) == 0
    other = save_tiny(tmp_path / "other", "fbank")
    assert enhance(other, top, "-o", out) == 1
    assert "made with another model" in capsys.readouterr().err
    assert enhance(model, top, "-o", out, "--stats", "window") == 1
    assert "made with another stats" in capsys.readouterr().err
    assert enhance(model, top, "-o", out, "--atten_lim", "20") == 1
    assert "made with another atten_lim" in capsys.readouterr().err
    assert enhance(other, top, "-o", out, "--overwrite") == 0


def test_files_of_somebody_else_are_not_overwritten(model, tmp_path, capsys):
    top, out = write(tmp_path / "in" / "a.wav").parent, tmp_path / "out"
    original = write(out / "a.wav", seed=9).read_bytes()
    assert enhance(model, top, "-o", out) == 1
    assert "was not made by this command" in capsys.readouterr().err
    assert (out / "a.wav").read_bytes() == original
    assert enhance(model, top, "-o", top) == 1
    assert enhance(model, top / "a.wav", "-o", top / "a.wav") == 1
    assert "written over itself" in capsys.readouterr().err


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
    twice = (tmp_path / "one" / "a.wav", tmp_path / "two" / "a.wav")
    assert enhance(model, *twice, "-o", tmp_path / "out2") == 1
    assert "would both go to" in capsys.readouterr().err


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


def test_a_pipe_of_nonsense(model, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"nonsense")))
    assert enhance(model, "-", "-o", tmp_path / "y.wav") == 1
    assert not (tmp_path / "y.wav").exists()
    assert enhance(model, "-", tmp_path / "x.wav", "-o", "-") == 1
    assert "- is for one file" in capsys.readouterr().err


def test_clipping_is_warned_of(model, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(Enhancer, "enhance", lambda self, wav: wav * 50)
    assert enhance(model, write(tmp_path / "x.wav"), "-o", tmp_path / "y.wav") == 0
    assert "samples beyond full scale were clipped" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["gone.wav"], "no such file or folder"),
        (["empty"], "holds no audio files"),
        (["x.wav", "--stats", "none"], "--stats is file or window"),
        (["x.wav", "--window", "2"], "overlap must be longer"),
        (["x.wav", "--batch", "0"], "--batch 0"),
        (["x.wav", "--nj", "0"], "--nj 0"),
        (["x.wav", "--device", "tpu"], "--device is auto, cpu or cuda"),
        (["x.wav", "--model_file", "gone.pth"], "holds no gone.pth"),
    ],
)
def test_bad_options_are_one_line(model, tmp_path, monkeypatch, capsys, arguments, told):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "x.wav")
    (tmp_path / "empty").mkdir()
    assert enhance(model, *arguments, "-o", "y.wav") == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and told in error
    assert not (tmp_path / "y.wav").exists()


@pytest.mark.parametrize(
    ("inputs", "output", "told"),
    [
        (["in"], "in", "in would be written over itself"),
        (["in", "in"], "out", "in is given twice"),
        (["in/a.wav", "in/a.wav"], "out", "in/a.wav is given twice"),
        (["in/a.wav"], "y.xyz", "there is no format '.xyz'; give one of .aif"),
        (["in/a.wav"], "y", "its name has no ending"),
        (["in/a.wav"], "/proc/y.wav", "cannot write /proc/y.wav: No such file"),
        (["text.wav"], "y.wav", "text.wav is no audio that libsndfile reads: Format not"),
        (["none.wav"], "y.wav", "none.wav is empty"),
        (["link.wav"], "y.wav", "link.wav is a link that leads to no file"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    model, tmp_path, monkeypatch, capsys, inputs, output, told
):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "in" / "a.wav")
    (tmp_path / "text.wav").write_text("no audio")
    (tmp_path / "none.wav").touch()
    (tmp_path / "link.wav").symlink_to("gone.wav")
    assert enhance(model, *inputs, "-o", output) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and told in error
    assert tree(tmp_path) == ["in/a.wav", "none.wav", "text.wav"]


def test_names_with_anything_in_them(model, tmp_path, capsys):
    write(tmp_path / "in" / "a\nb é.wav")
    (tmp_path / "in" / "c\x1b[2J.wav").write_text("no audio")
    assert enhance(model, tmp_path / "in", "-o", tmp_path / "out") == 1
    assert tree(tmp_path / "out") == ["a\nb é.wav"]
    told = capsys.readouterr().err
    assert "\x1b" not in told and r"c\x1b[2J.wav is no audio" in told


def test_a_run_that_is_ended_leaves_nothing_half_and_goes_on(model, tmp_path, capsys):
    top, out = tmp_path / "in", tmp_path / "out"
    write(top / "a.wav")
    write(top / "b.wav", 120.0)
    command = [sys.executable, "-m", "featnorm_se.bin.enhance", str(top), "-o", str(out)]
    with subprocess.Popen([*command, "--model", str(model)], stderr=subprocess.PIPE) as process:
        while process.poll() is None and not list(out.glob(".[0-9]*.tmp.*.wav")):
            time.sleep(0.01)
        while process.poll() is None and not (out / "a.wav").exists():
            time.sleep(0.01)
        process.terminate()
        assert process.wait() == 143
    assert tree(out) == ["a.wav"]
    assert [path.name for path in out.iterdir() if ".tmp." in path.name] == []
    # As a killed one leaves it; and one of a run that is still alive.
    for number in (2**22 + 1, os.getpid()):
        stale = out / f".{number}.tmp.0123456789ab.wav"
        stale.touch()
        os.utime(stale, (1, 1))
    assert enhance(model, top, "-o", out) == 0
    told = capsys.readouterr().err
    assert "1 enhanced, 1 skipped: 120.0 s of audio" in told
    assert tree(out) == ["a.wav", "b.wav"]
    assert [path.name for path in out.iterdir() if ".tmp." in path.name] == [stale.name]
    assert enhance(model, top, "-o", out) == 0
    assert capsys.readouterr().err == "2 skipped\n"


def test_bfloat16_is_near_or_told_of(model, tmp_path, capsys):
    source = write(tmp_path / "x.wav", 2.0)
    assert enhance(model, source, "-o", tmp_path / "y.wav") == 0
    assert enhance(model, source, "-o", tmp_path / "z.wav", "--bf16") == 0
    y, z = (soundfile.read(tmp_path / name)[0] for name in ("y.wav", "z.wav"))
    assert np.square(y - z).sum() < 1e-3 * np.square(y).sum()
    told = "no bfloat16" in capsys.readouterr().err
    assert told != bool((y != z).any())


def test_an_attenuation_limit_leaves_so_much_of_the_input_in(model, tmp_path, capsys):
    source = write(tmp_path / "x.wav", 2.0)
    assert enhance(model, source, "-o", tmp_path / "y.wav") == 0
    assert enhance(model, source, "-o", tmp_path / "z.wav", "--atten_lim", "20") == 0
    x, y, z = (soundfile.read(tmp_path / f"{name}.wav")[0] for name in "xyz")
    np.testing.assert_allclose(z, 0.9 * y + 0.1 * x, atol=2e-4)
    capsys.readouterr()
    assert enhance(model, source, "-o", tmp_path / "w.wav", "--atten_lim", "0") == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "w.wav").exists()


def test_without_a_model_the_shipped_one_is_used_and_told(model, tmp_path, capsys, monkeypatch):
    from featnorm_se.inference import loading, pack

    shipped = tmp_path / "models" / "default.zip"
    shipped.parent.mkdir()
    pack.pack(model, shipped)
    monkeypatch.setattr(loading, "SHIPPED", shipped)
    source = write(tmp_path / "in" / "a.wav")
    assert main(["enhance", str(source), "-o", str(tmp_path / "y.wav")]) == 0
    told = capsys.readouterr().err.splitlines()
    assert told[0] == f"model: {shipped}, shipped with featnorm_se"
    assert enhance(shipped, source, "-o", tmp_path / "z.wav") == 0
    assert "shipped" not in capsys.readouterr().err
    assert (tmp_path / "y.wav").read_bytes() == (tmp_path / "z.wav").read_bytes()
    # A folder remembers the weights, not how they were named.
    assert main(["enhance", str(source.parent), "-o", str(tmp_path / "out")]) == 0
    assert enhance(shipped, source.parent, "-o", tmp_path / "out") == 0
    assert "1 skipped" in capsys.readouterr().err
    assert main(["enhance", str(tmp_path / "gone.wav"), "-o", str(tmp_path / "y.wav")]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert main(["enhance", str(source), "-o", "y.wav", "--model", ""]) == 1


def test_an_installation_without_the_shipped_model_is_told(tmp_path, capsys, monkeypatch):
    from featnorm_se.inference import loading

    monkeypatch.setattr(loading, "SHIPPED", tmp_path / "default.zip")
    assert main(["enhance", str(write(tmp_path / "a.wav")), "-o", str(tmp_path / "y.wav")]) == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "has no model of its own" in told and "--model" in told


def test_help_is_quick_to_come():
    code = (
        "import sys; from featnorm_se.bin.enhance import get_parser; get_parser().format_help();"
        "print('torch' in sys.modules, 'numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "False False\n"
