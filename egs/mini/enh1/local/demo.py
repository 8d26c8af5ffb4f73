#!/usr/bin/env python3
"""The demo: the same model with three norms at the log-mels, side by side, and what comes of it."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock

from featnorm_se.bin import run
from featnorm_se.errors import FeatnormError

DEMO = Path("demo")
# Tag and norm of each row; the first two take their turns before the third.
ROWS = ("none", "instance", "utterance")
OPTIONS = ["--upstream", "tera_small", "--norm_site", "frontend", "--config", "conf/demo.yaml"]
PLACES = [word for n in ("exp", "data", "dump") for word in (f"--{n}dir", f"{DEMO}/{n}")]
# Parts of the whole time: they are what was measured on two cores.
DATA, STATISTICS, EPOCH, SCORES, PAGE = 6, 2, 4, 4, 4
EPOCHS = 4
WHOLE = DATA + len(ROWS) * (STATISTICS + EPOCHS * EPOCH + SCORES) + PAGE
_EPOCH = re.compile(r"epoch (\d+): train loss")


class Clock:
    """How much of the whole is done, and how long the rest may take."""

    def __init__(self) -> None:
        self.began, self.done, self.lock = time.monotonic(), 0, Lock()

    def add(self, parts: int, text: str) -> None:
        """Print that so many parts more are done."""
        with self.lock:
            self.done += parts
            left = (time.monotonic() - self.began) * (WHOLE - self.done) / self.done
            share = f"{100 * self.done // WHOLE} % done"
            if self.done < WHOLE:
                share += f", about {max(1, round(left / 60))} min left"
            print(f"{time.strftime('%H:%M:%S')} demo: {text}; {share}", flush=True)


def call(name: str, command: Sequence[str]) -> Iterator[str]:
    """Run a command with a log, and give the lines that it prints.

    Raises:
        FeatnormError: it failed; the message is its own.
    """
    log = DEMO / "log" / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with (
        open(log, "a", encoding="utf-8") as handle,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process,
    ):
        said = ""
        for line in process.stdout or ():
            handle.write(line)
            handle.flush()
            said = line if "error:" in line else said
            yield line
    if process.returncode:
        raise FeatnormError(f"{said.partition('error:')[2].strip() or name + ' failed'} ({log})")


def stage(name: str, first: int, last: int, options: Sequence[str]) -> Iterator[str]:
    """Run stages of the recipe."""
    stages = ["--stage", str(first), "--stop_stage", str(last)]
    return call(name, ["./run.sh", *OPTIONS, *PLACES, *options, *stages])


def run_row(norm: str, clock: Clock, scoring: Lock, options: Sequence[str]) -> None:
    """Train and score one row."""
    row = ["--norm", norm, "--tag", norm, *options]
    for _ in stage(norm, 2, 2, row):
        pass
    clock.add(STATISTICS, f"{norm}: training")
    seen = 0
    for line in stage(norm, 3, 3, row):
        if _EPOCH.search(line):
            seen += 1
            clock.add(EPOCH, f"{norm}: {line.strip()}")
    clock.add((EPOCHS - seen) * EPOCH, f"{norm}: trained")
    with scoring:  # it takes all cores, and the rows share the scores of the noisy input
        for _ in stage(norm, 4, 4, row):
            pass
    clock.add(SCORES, f"{norm}: scored")


def learnt() -> str:
    """Say what FN gives, with intervals over the utterances."""
    from featnorm_se.report.paired import compare_folders

    fn = DEMO / "exp" / "utterance"
    parts = []
    for baseline in ("noisy", "none", "instance"):
        (found,) = compare_folders(DEMO / "exp" / baseline, [fn], ["PESQ_WB"])["PESQ_WB"].values()
        low, high = found.interval or (math.nan, math.nan)
        sure = "" if low > 0 or high < 0 else ", no sure difference"
        parts.append(f"{found.mean:+.2f} [{low:+.2f}, {high:+.2f}] on {baseline}{sure}")
    return f"FN has in PESQ_WB {'; '.join(parts)} (mean, 95 % interval)"


def main(argv: Sequence[str]) -> None:
    """Run all rows, write the page, and say what was learnt."""
    if {"-h", "--help"} & {*argv}:
        raise FeatnormError("options of run.sh are wanted, see ./run.sh --help")
    clock = Clock()
    for _ in stage("data", 1, 1, argv):
        pass
    clock.add(DATA, "data: speech and noise mixed")
    jobs = min(2, len(os.sched_getaffinity(0)))
    scoring = Lock()
    with ThreadPoolExecutor(jobs) as pool:
        rows = [pool.submit(run_row, norm, clock, scoring, argv) for norm in ROWS]
        try:
            for row in rows:
                row.result()
        finally:
            pool.shutdown(cancel_futures=True)
    *others, norm = ROWS
    for other in others:  # stage 5 without the page, which the last one writes
        places = ["--expdir", f"{DEMO}/exp/{other}", "--datadir", f"{DEMO}/data/valid"]
        list(call("page", [sys.executable, "../../TEMPLATE/enh1/local/drift.py", *places]))
    last = list(stage("page", 5, 5, ["--norm", norm, "--tag", norm, *argv]))
    clock.add(PAGE, "page written")
    print("".join(last))
    print(learnt())
    print(f"Hear and see it: {(DEMO / 'report' / 'index.html').resolve()}")
    print(
        "Next, a recording of yours: . tools/activate_python.sh && featnorm-se enhance NOISY.wav"
        f" -o ENHANCED.wav --model {(DEMO / 'exp' / 'utterance').resolve()}"
    )


if __name__ == "__main__":
    raise SystemExit(run(main))
