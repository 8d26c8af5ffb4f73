"""scp files, audio files, whole folders, the lock, and the parallel map."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import filelock
import numpy as np
import pytest
import soundfile

from featnorm_se.data import parallel
from featnorm_se.data.audio import read_any_audio, read_audio, write_audio
from featnorm_se.data.parallel import parallel_map
from featnorm_se.data.resample import resample, resampled_length
from featnorm_se.data.scp import read_scp, write_scp
from featnorm_se.errors import FeatnormError
from featnorm_se.files import locked, replaced_folder


def test_scp_is_sorted_by_bytes_and_keeps_spaces_in_paths(tmp_path: Path) -> None:
    entries = {"b": "/a place/b.wav", "B": "x", "a_1": "y", "a1": "z"}
    write_scp(tmp_path / "x.scp", entries)
    assert list(read_scp(tmp_path / "x.scp")) == ["B", "a1", "a_1", "b"]
    assert read_scp(tmp_path / "x.scp") == entries


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"a x\na y\n", "line 2: the key 'a' comes twice"),
        (b"a x\nb\n", "line 2"),
        (b"a \xff\xfe\n", "not UTF-8"),
    ],
)
def test_a_broken_scp_is_told(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "x.scp").write_bytes(content)
    with pytest.raises(FeatnormError, match=said):
        read_scp(tmp_path / "x.scp")


@pytest.mark.parametrize("entries", [{"a b": "x"}, {"": "x"}, {"a": " "}, {"a": "x\ny"}])
def test_what_kaldi_cannot_carry_is_not_written(tmp_path: Path, entries: dict[str, str]) -> None:
    with pytest.raises(FeatnormError):
        write_scp(tmp_path / "x.scp", entries)
    assert not (tmp_path / "x.scp").exists()


def test_audio_round_trip_and_clipping(tmp_path: Path) -> None:
    samples = np.linspace(-2.0, 2.0, 100, dtype=np.float32)
    write_audio(tmp_path / "deep" / "x.wav", samples)
    back = read_audio(tmp_path / "deep" / "x.wav")
    assert np.abs(back - np.clip(samples, -1, 1)).max() < 2 / 32768
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["x.wav"]


def test_audio_faults_are_told(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    with pytest.raises(FeatnormError, match="no such audio file"):
        read_audio(path)
    soundfile.write(path, np.zeros(0), 16000)
    with pytest.raises(FeatnormError, match="no samples"):
        read_any_audio(path)
    soundfile.write(path, np.zeros((10, 2)), 16000)
    with pytest.raises(FeatnormError, match="2 channels"):
        read_audio(path)
    soundfile.write(path, np.zeros(10), 8000)
    with pytest.raises(FeatnormError, match="8000 Hz, 16000 Hz is wanted"):
        read_audio(path)
    soundfile.write(path, np.full(10, np.inf), 16000, subtype="FLOAT")
    with pytest.raises(FeatnormError, match="NaN or infinite"):
        read_audio(path)


def test_a_file_that_cannot_be_written_whole_is_not_left(tmp_path: Path) -> None:
    code = (
        "import resource, sys, numpy\n"
        "from featnorm_se.data.audio import write_audio\n"
        "from featnorm_se.errors import FeatnormError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try:\n    write_audio(sys.argv[1], numpy.ones(16000, 'f') / 2)\n"
        "except FeatnormError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "x.wav")],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert "cannot write" in done.stdout and not list(tmp_path.iterdir())


@pytest.mark.parametrize(("rate", "frames"), [(48000, 4800), (44100, 4411), (22050, 1), (8000, 7)])
def test_resampling_gives_the_length_foretold(rate: int, frames: int) -> None:
    samples = np.ones(frames, np.float32)
    assert len(resample(samples, rate, 16000)) == resampled_length(frames, rate, 16000)
    assert resample(samples, rate, rate) is samples


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with replaced_folder(target) as new:
        (new / "one").write_text("1")
    with pytest.raises(RuntimeError), replaced_folder(target) as new:
        (new / "two").write_text("2")
        raise RuntimeError
    assert [path.name for path in target.iterdir()] == ["one"]
    (tmp_path / ".out.new").mkdir()
    (tmp_path / ".out.new" / "left by a killed run").write_text("")
    with replaced_folder(target) as new:
        (new / "three").write_text("3")
    assert [path.name for path in target.iterdir()] == ["three"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_two_writers_at_once_are_refused(tmp_path: Path) -> None:
    with (
        locked(tmp_path / "out"),
        pytest.raises(FeatnormError, match="another run"),
        locked(tmp_path / "out"),
    ):
        pass
    with locked(tmp_path / "out"):
        pass


def test_a_killed_writer_holds_nothing(tmp_path: Path) -> None:
    code = (
        "import os, sys\n"
        "from featnorm_se.files import locked\n"
        "with locked(sys.argv[1]):\n"
        "    print('held', flush=True); sys.stdin.read()\n"
    )
    first = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "out")],
        cwd=Path(__file__).parents[2], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert first.stdout is not None and first.stdout.readline() == "held\n"
    with pytest.raises(FeatnormError, match="another run is writing"), locked(tmp_path / "out"):
        pass
    first.kill()
    first.wait()
    with locked(tmp_path / "out"):
        pass


def test_a_file_system_without_locks_is_told_and_borne(tmp_path, monkeypatch, capsys) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    with locked(tmp_path / "out"):
        pass
    assert "cannot be locked: let no second run" in capsys.readouterr().err


def test_a_machine_without_semaphores_is_told(monkeypatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory")

    monkeypatch.setattr(parallel, "ProcessPoolExecutor", refuse)
    with pytest.raises(FeatnormError, match="cannot start worker processes .*/dev/shm"):
        parallel_map(abs, [1, 2], 2, "abs")


def test_parallel_map_keeps_order_and_tells_the_first_error(capsys) -> None:
    assert parallel_map(abs, list(range(-50, 0)), 2, "abs") == list(range(50, 0, -1))
    assert "abs: 50/50" in capsys.readouterr().err
    with pytest.raises(FeatnormError, match="no such audio file: first"):
        parallel_map(read_audio, ["first", "second"], 2, "read")
    with pytest.raises(FeatnormError, match="--nj 0"):
        parallel_map(abs, [1], 0, "abs")
    assert parallel_map(abs, [], 2, "none") == []


def test_workers_end_with_a_killed_parent(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        "import os, time\n"
        "from featnorm_se.data.parallel import parallel_map\n"
        "def work(place):\n"
        "    open(f'{place}{os.getpid()}', 'w').close()\n"
        "    time.sleep(60)\n"
        "if __name__ == '__main__':\n"
        "    parallel_map(work, ['pid_', 'pid_'], 2, 'work')\n"
    )
    path = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    parent = subprocess.Popen(
        [sys.executable, str(script)], cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}
    )
    try:
        workers = wait_for(lambda: [p.name[4:] for p in tmp_path.glob("pid_*")], 2)
    finally:
        parent.kill()
        parent.wait()
    alive = wait_for(lambda: [w for w in workers if runs(w)], 0)
    assert len(workers) == 2 and not alive


def runs(pid: str) -> bool:
    """Whether a process lives; one that only waits to be reaped does not."""
    try:
        return Path("/proc", pid, "stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def wait_for(look: Callable[[], list[str]], count: int) -> list[str]:
    """Look until there are ``count``, at most 8 s; return what was last seen."""
    end = time.monotonic() + 8
    while len(seen := look()) != count and time.monotonic() < end:
        time.sleep(0.05)
    return seen
