"""Kill one of two training processes and see how the other ends; then go on, and compare.

    python tools/faults/kill_rank.py /tmp/rank

Trains the tiny recipe with two gloo processes: once whole, then with one process killed in its
second epoch and started again. Prints how long after the kill the other process ended and what it
said, and whether the weights are those of the whole run.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import fingerprint
from tiny_recipe import ROOT, main_commands, make_sources, run_commands

_LONGEST = 400.0


def start(source: Path, disk: Path, logs: list[Path]) -> list[subprocess.Popen[bytes]]:
    """Start both processes of the training, a log each."""
    ((module, arguments),) = main_commands(3, source, disk)
    settings = ("dist_backend=gloo", "multiprocessing_distributed=false")
    line = [sys.executable, "-m", f"featnorm_se.bin.{module}", *arguments]
    line += [part for setting in settings for part in ("--set", setting)]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
    places = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    places |= {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}
    started = []
    for rank, log in enumerate(logs):
        with open(log, "wb") as handle:
            environment = {**os.environ, **places, "RANK": str(rank), "LOCAL_RANK": str(rank)}
            started.append(
                subprocess.Popen(line, env=environment, stdout=handle, stderr=subprocess.STDOUT)
            )
    return started


def finish(processes: list[subprocess.Popen[bytes]]) -> list[int]:
    """Wait for all and return their exit statuses; what hangs is killed."""
    until = time.monotonic() + _LONGEST
    for process in processes:
        try:
            process.wait(until - time.monotonic())
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    return [process.returncode for process in processes]


def wait_for(log: Path, words: str) -> None:
    """Wait until a log holds some words."""
    until = time.monotonic() + _LONGEST
    while words not in log.read_text(encoding="utf-8", errors="replace"):
        if time.monotonic() > until:
            raise SystemExit(f"{log} never says {words!r}")
        time.sleep(0.02)


def main() -> int:
    """Kill each of the two in turn; the exit status says whether all went as it should."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", type=Path, help="folder for everything; it must not be there")
    work = parser.parse_args().work.resolve()
    work.mkdir(parents=True)
    source, disk, logs = work / "source", work / "disk", [work / "0.log", work / "1.log"]
    make_sources(source)
    for stage in (1, 2):
        if run_commands(main_commands(stage, source, disk)):
            return 1
    if finish(start(source, disk, logs)) != [0, 0]:
        raise SystemExit(f"two processes do not train without a fault: see {logs[0]}")
    exp = disk / "exp" / "tiny"
    wanted = fingerprint.digests(exp)
    bad = 0
    for victim in (0, 1):
        exp.rename(work / f"whole{victim}")
        processes = start(source, disk, logs)
        wait_for(logs[0], "2/4epoch started")
        struck = time.monotonic()
        processes[victim].send_signal(signal.SIGKILL)
        codes = finish(processes)
        seconds = time.monotonic() - struck
        lines = logs[1 - victim].read_text(encoding="utf-8", errors="replace").splitlines()
        said = [line for line in lines if "error:" in line]
        again = finish(start(source, disk, logs))
        odd = fingerprint.differences(wanted, fingerprint.digests(exp))
        print(f"process {victim} killed: statuses {codes}, the other ended after {seconds:.1f} s")
        print(f"  and said: {said[-1] if said else 'nothing'}")
        print(f"  again: statuses {again}, {'other weights: ' + odd[0] if odd else 'same weights'}")
        bad += bool(odd or again != [0, 0] or not said or seconds > 60 or 0 in codes)
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())
