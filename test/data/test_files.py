"""Whole files and folders, the lock, audio files, resampling, and the parallel map."""

import io
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from featnorm_se.data import parallel
from featnorm_se.data.audio import (
    audio_info,
    read_any_audio,
    read_audio,
    resample,
    resample_blocks,
    resampled_length,
    write_audio,
)
from featnorm_se.data.parallel import parallel_map
from featnorm_se.errors import FeatnormError
from featnorm_se.files import is_done, mark_done, replaced_folder, stamp
from featnorm_se.inference.audio_stream import AudioInput


def test_audio_round_trip_and_clipping(tmp_path: Path) -> None:
    samples = np.linspace(-2.0, 2.0, 100, dtype=np.float32)
    write_audio(tmp_path / "deep" / "x.wav", samples)
    back = read_audio(tmp_path / "deep" / "x.wav")
    beyond = np.abs(back - np.clip(samples, -1, 32767 / 32768))
    assert beyond.max() <= 0.5 / 32768  # the nearest
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["x.wav"]


@pytest.mark.parametrize("rate", [8000, 15999, 44100, 48000])
def test_resampling_in_blocks_is_resampling_the_whole_and_keeps_a_constant(rate: int) -> None:
    x = np.random.default_rng(1).normal(size=(200_001, 2)).astype(np.float32)
    for a, b in ((rate, 16000), (16000, rate)):
        whole = np.concatenate(list(resample_blocks([x], a, b)))
        blocks = [x[i : i + 777] for i in range(0, len(x), 777)]
        joined = np.concatenate(list(resample_blocks(blocks, a, b)))
        assert len(joined) == len(whole) == resampled_length(len(x), a, b)
        np.testing.assert_allclose(joined, whole, atol=1e-6)
        flat = np.full((rate, 1), 0.5, np.float32)
        assert np.abs(np.concatenate([*resample_blocks([flat], a, b)]) - 0.5).max() < 1e-6


def test_a_stream_and_a_file_are_resampled_alike() -> None:
    time = np.arange(48000) / 48000
    x = np.sin(2 * np.pi * 3000 * time).astype(np.float32)
    stream = np.concatenate(list(resample_blocks([x[:, None]], 48000, 16000)))[:, 0]
    assert np.abs(stream - resample(x, 48000, 16000))[100:-100].max() < 2e-3


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with replaced_folder(target) as new:
        (new / "one").write_text("1")
    with pytest.raises(RuntimeError), replaced_folder(target) as new:
        (new / "two").write_text("2")
        raise RuntimeError
    with pytest.raises(OSError), replaced_folder(target) as new:
        shutil.rmtree(new)  # so that it cannot take the other's place
    assert [path.name for path in target.iterdir()] == ["one"]
    (tmp_path / ".out.new").mkdir()
    (tmp_path / ".out.new" / "left by a killed run").write_text("")
    with replaced_folder(target) as new:
        (new / "three").write_text("3")
    assert [path.name for path in target.iterdir()] == ["three"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_parallel_map_keeps_order_and_tells_the_first_error(capsys) -> None:
    assert parallel_map(abs, list(range(-50, 0)), 2, "abs") == list(range(50, 0, -1))
    assert "50/50" in capsys.readouterr().err
    with pytest.raises(FeatnormError, match="no such audio file: first"):
        parallel_map(read_audio, ["first", "second"], 2, "read")
    assert parallel_map(abs, [], 2, "none") == []


# What writes for a minute in two processes.
WRITING = """
import time
from featnorm_se.data.parallel import parallel_map
from featnorm_se.files import atomic_path
def work(name):
    with atomic_path(name) as temporary:
        temporary.touch()
        time.sleep(60)
if __name__ == "__main__":
    from featnorm_se.bin import run
    raise SystemExit(run(lambda _: parallel_map(work, ["a", "b"], 2, "work")))
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_workers_end_with_their_parent(tmp_path: Path, number: int) -> None:
    """And leave nothing, when it has the time to tell them."""
    (tmp_path / "program.py").write_text(WRITING)
    path = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    parent = subprocess.Popen(
        [sys.executable, "program.py"], cwd=tmp_path, env={**os.environ, "PYTHONPATH": path},
        stderr=subprocess.PIPE, text=True,
        # A suite behind & has it ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    count = min(2, parallel.count_cores())
    writing = wait_for(lambda: [path.name for path in tmp_path.glob(".*.tmp.*")], count)
    parent.send_signal(number)
    _, told = parent.communicate(timeout=30)
    workers = [name.split(".")[1] for name in writing]
    assert len(workers) == count and not wait_for(lambda: [w for w in workers if runs(w)], 0)
    if number != signal.SIGKILL:
        assert parent.returncode == 128 + number and "Traceback" not in told
        assert told.endswith("the same command again does what is left\n")
        assert os.listdir(tmp_path) == ["program.py"]


def runs(pid: str) -> bool:
    """Whether a process lives; one that only waits to be reaped does not."""
    try:
        return Path("/proc", pid, "stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def wait_for(look: Callable[[], list[str]], count: int) -> list[str]:
    """Look until there are ``count``, at most 30 s; return what was last seen."""
    end = time.monotonic() + 30
    while len(seen := look()) != count and time.monotonic() < end:
        time.sleep(0.05)
    return seen


@pytest.mark.parametrize("name", ["out", "é" * 127 + "x"])  # 255 bytes: no name is longer
def test_done_is_what_the_same_files_were_made_into(tmp_path: Path, name: str) -> None:
    """A file that another one has replaced counts as another, an older one too."""
    source, output = tmp_path / "in", tmp_path / name
    source.write_text("one")
    output.write_text("made")
    mark_done(output, {"option": 1, "files": stamp([source])})
    assert is_done(output, {"option": 1, "files": stamp([source])})
    assert is_done(output, {"option": 1}) and not is_done(output, {"option": 2})
    source.write_text("two")
    os.utime(source, (0, 0))
    assert not is_done(output, {"option": 1, "files": stamp([source])})
    output.write_text("cut")
    assert not is_done(output, {"option": 1})
    mark_done(output, {"option": 1, "bytes": None})  # it is yet to be written
    output.write_text("made")
    assert is_done(output, {"option": 1})
    before = stamp([f"{source}:12"])  # a place in an archive
    source.write_text("others")
    assert stamp([f"{source}:12"]) != before
    output.unlink()
    assert not is_done(output, {"option": 1})


# ---- headers that say less or more than there is: a pipe, a byte too many, a cut

Mend = Callable[[bytes, int], bytes]
SAMPLES = np.random.default_rng(0).integers(-9000, 9000, 8000).astype(np.int16)


def sized(size: int, riff: int | None = None, more: bytes = b"") -> Mend:
    """Say that the samples have so many bytes."""

    def mend(data: bytes, at: int) -> bytes:
        head = data[:4] + (riff or 0).to_bytes(4, "little") if riff is not None else data[:8]
        return head + data[8:at] + size.to_bytes(4, "little") + data[at + 4 :] + more

    return mend


def written(path: Path, mend: Mend, container: str = "WAV") -> Path:
    buffer = io.BytesIO()
    soundfile.write(buffer, SAMPLES, 16000, format=container)
    data = buffer.getvalue()
    path.write_bytes(mend(data, data.index(b"data") + 4 if b"data" in data[:200] else 0))
    return path


HEADERS = {
    "written to a pipe.wav": sized(0xFFFFFFFF, riff=0xFFFFFFFF),
    "one byte too many.wav": sized(16001),
    "and it is there.wav": sized(16001, more=b"\0"),
}


@pytest.mark.parametrize("name", HEADERS)
def test_all_samples_are_read_whatever_the_header_says(tmp_path: Path, name: str) -> None:
    path = written(tmp_path / name, HEADERS[name])
    expected = SAMPLES[:, None] / np.float32(32768)
    assert np.array_equal(read_any_audio(path)[0], expected)
    assert audio_info(path).frames == AudioInput(path).header.frames == 8000
    assert np.array_equal(np.concatenate(list(AudioInput(path).blocks())), expected)


@pytest.mark.parametrize("begins", [-20, 0, 1])
def test_a_recorder_that_broke_off_is_told_of(tmp_path: Path, begins: int) -> None:
    """Its header has no length; what lies behind is speech, or begins silent."""
    path = written(tmp_path / "broken.wav", sized(0, riff=36))
    data = bytearray(path.read_bytes())
    data[44:60] = np.full(8, begins, "<i2").tobytes()
    path.write_bytes(data)
    for read in (read_any_audio, audio_info, AudioInput):
        with pytest.raises(FeatnormError, match="has no samples by its header, but .*-ignore_len"):
            read(path)


def test_what_is_empty_or_cut_stays_so(tmp_path: Path, monkeypatch) -> None:
    tail = b"LIST" + (12).to_bytes(4, "little") + b"INFOISFT\0\0\0\0"
    empty = tmp_path / "empty.wav"
    soundfile.write(empty, SAMPLES[:0], 16000)
    for more in (b"", tail):
        empty.write_bytes(empty.read_bytes() + more)
        with pytest.raises(FeatnormError, match="no samples"):
            read_any_audio(empty)
        with pytest.raises(FeatnormError, match="no samples"):
            AudioInput(empty)
    cut = written(tmp_path / "cut.wav", lambda data, at: data[:-2])
    with pytest.raises(FeatnormError, match="cut short: it has .* of 16000 bytes"):
        read_any_audio(cut)
    # Written to a pipe: no length in the header, and no ffmpeg.
    monkeypatch.setenv("PATH", "")
    for name in ("x.w64", "x.au", "x.rf64"):
        container = name[2:].upper()
        soundfile.write(tmp_path / name, SAMPLES, 16000, format=container)
        read_any_audio(tmp_path / name)
        os.truncate(tmp_path / name, os.path.getsize(tmp_path / name) // 2)
        with pytest.raises(FeatnormError, match="cut short: it has"):
            read_any_audio(tmp_path / name)
    scaled = tmp_path / "scaled.wav"
    soundfile.write(scaled, SAMPLES.astype(float), 16000, subtype="FLOAT")
    with pytest.raises(FeatnormError, match="samples reach .*, full scale is 1"):
        read_any_audio(scaled)
    flac = written(tmp_path / "x.flac", lambda d, at: d[:21] + b"\xf0" + bytes(4) + d[26:], "FLAC")
    for read in (read_any_audio, AudioInput):
        with pytest.raises(FeatnormError, match="has no length in its header"):
            read(flac)
