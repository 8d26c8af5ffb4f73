"""How a command ends that is told to, or whose disk is full: promptly, in one line, cleanly."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from featnorm_se.bin import run

HEAD = """
import sys, time
from pathlib import Path
from featnorm_se.bin import run
from featnorm_se.data.parallel import parallel_map
from featnorm_se.files import atomic_path

def told(_):
    print("ready", flush=True)
    time.sleep(60)

def main(_):
"""
WRITE = """
    with atomic_path("whole.txt") as temporary:
        temporary.write_text("half")
        told(0)
"""
SWALLOWED = """
    import gc, os, signal
    class Eats:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGTERM)
            for _ in range(1000):
                pass
    print("ready", flush=True)
    Eats()
    time.sleep(60)
"""
STUBBORN = """
    import featnorm_se.ending
    featnorm_se.ending._GRACE = 1.0
    try:
        told(0)
    finally:
        time.sleep(60)
"""
POOL = """
    parallel_map(told, range(4), 2, "sleeping")
"""
LATE = """
    import threading
    gone = threading.Event()
    def fail():
        gone.wait()
        raise ValueError("what this thread waited for was cancelled")
    thread = threading.Thread(target=fail)
    thread.start()
    try:
        told(0)
    finally:
        gone.set()
        thread.join()
"""
TAIL = """
if __name__ == "__main__":
    raise SystemExit(run(main))
"""


def group_of(pid: int) -> list[int]:
    """Return the living processes of a group."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(fields[2]) == pid and fields[0] != "Z":
                found.append(int(entry.name))
    return found


@pytest.mark.parametrize("to_all", [True, False], ids=["group", "process"])
@pytest.mark.parametrize("body", [WRITE, POOL, LATE], ids=["write", "pool", "thread"])
def test_sigterm_ends_it_promptly_and_cleanly(tmp_path, body, to_all):
    process = start(tmp_path, body)
    assert process.stdout and process.stdout.readline() == "ready\n"
    began = time.monotonic()
    (os.killpg if to_all else os.kill)(process.pid, signal.SIGTERM)
    _, told = process.communicate(timeout=30)
    assert time.monotonic() - began < 10
    assert process.returncode == 143
    lines = [line for line in told.splitlines() if "error:" in line]
    assert lines == [
        "featnorm_se: error: ended by SIGTERM: the same command again goes on from here"
    ]
    assert "Traceback" not in told
    assert [path.name for path in tmp_path.iterdir() if path.name != "__pycache__"] == ["job.py"]
    for _ in range(100):
        if not group_of(process.pid):
            break
        time.sleep(0.05)
    assert not group_of(process.pid)


def start(folder: Path, body: str) -> subprocess.Popen[str]:
    (folder / "job.py").write_text(HEAD + body + TAIL)
    return subprocess.Popen(
        [sys.executable, "job.py"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        start_new_session=True,
    )


def test_python_swallows_it_and_it_comes_again(tmp_path):
    process = start(tmp_path, SWALLOWED)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 143
    assert "ended by SIGTERM" in told
    assert "Traceback" not in told


def test_what_does_not_unwind_is_ended(tmp_path):
    process = start(tmp_path, STUBBORN)
    assert process.stdout and process.stdout.readline() == "ready\n"
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == 143


def test_the_handler_is_put_back():
    before = signal.getsignal(signal.SIGTERM)
    assert run(lambda _: None, []) == 0
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_full_disk_is_told_in_one_line(capsys):
    def main(_: object) -> None:
        with open("/dev/full", "w") as handle:
            handle.write("x")

    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full")
    assert run(main, []) == 1
    told = capsys.readouterr().err
    assert told == (
        "featnorm_se: error: cannot write: No space left on device: make room and give the same"
        " command again\n"
    )


def test_other_errors_of_the_system_keep_their_traceback():
    def main(_: object) -> None:
        raise OSError(errno.EBADF, "Bad file descriptor")

    with pytest.raises(OSError, match="Bad file descriptor"):
        run(main, [])
