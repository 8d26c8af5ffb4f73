"""Kill every stage of a small recipe at random moments, run it again, compare with a whole run.

    python tools/faults/kill_anywhere.py /tmp/faults --moments 20
    python tools/faults/kill_anywhere.py /tmp/faults --through recipe --moments 3

Each trial begins from the same state, strikes once and gives the same command again. Half the
moments are drawn from the stage's processor time, half from its operations on files (open to
write, rename, remove, link), which hits the short gaps between two of them. A fault is ``kill``
(SIGKILL to the whole process group), ``term`` (SIGTERM to it) or ``full`` (the disk is full from
then on). The work is done on a small file system in memory, which takes root; without it ``full``
limits the size of every file to nothing. Linux only. Every trial is a line of WORK/trials.jsonl.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import fingerprint
from running import FAULTS, Fault, Job, Moment, free_disk, run_job
from tiny_recipe import STAGES, main_commands, make_sources, preload, recipe_command

_EVOLVING = {
    1: (),
    2: (),
    3: ("checkpoint.pth", "epoch.pth", "latest.pth", "best.pth", "best.pth", "run.json"),
    4: ("scores.cache.jsonl",),
    5: (),
}
_DISK_MEGABYTES = 96


class Bench:
    """The folders of one run of this script, and its stages' whole results.

    Args:
        work: everything goes below it; it is made.
        through: ``mains`` (forks of this process call the mains) or ``recipe`` (``run.sh``).
    """

    def __init__(self, work: Path, through: str) -> None:
        self.work, self.through = work, through
        self.disk, self.source = work / "disk", work / "source"
        self.wanted: dict[int, dict[str, str]] = {}
        self.before: dict[int, dict[str, str]] = {}
        self.cpu: dict[int, float] = {}
        self.events: dict[int, int] = {}

    def job(self, stage: int, log: Path) -> Job:
        """Return what runs a stage."""
        if self.through == "recipe":
            return Job(log=log, line=recipe_command(stage, self.source, self.disk))
        return Job(log=log, commands=main_commands(stage, self.source, self.disk))

    def restore(self, stage: int) -> None:
        """Put back the state before a stage."""
        for path in self.disk.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        copy = ["cp", "-a", f"{self.work}/before{stage}/.", str(self.disk)]
        subprocess.run(copy, check=True)

    def whole_runs(self, last: int) -> None:
        """Run the stages without a fault."""
        for stage in range(1, last + 1):
            saved = self.work / f"before{stage}"
            shutil.rmtree(saved, ignore_errors=True)
            subprocess.run(["cp", "-a", f"{self.disk}/.", str(saved)], check=True)
            self.before[stage] = fingerprint.digests(self.disk)
            done = run_job(self.job(stage, self.work / f"whole{stage}.log"))
            if done.status:
                raise SystemExit(f"stage {stage} fails without a fault: see {done.log}")
            self.wanted[stage] = fingerprint.digests(self.disk)
            self.cpu[stage], self.events[stage] = done.cpu, done.events
            told = f"{done.seconds:.1f} s, {done.cpu:.1f} s of processor time"
            print(f"stage {stage}: {told}, {done.events} file operations", flush=True)

    def trial(self, stage: int, fault: Fault, moment: Moment) -> dict[str, Any]:
        """Strike once, run again, compare; return what is to be told."""
        log = self.work / "logs" / f"{stage}.{fault}.{moment}.log"
        self.restore(stage)
        struck = run_job(self.job(stage, log), fault, moment, self.disk)
        after = fingerprint.digests(self.disk)
        free_disk(self.disk)
        again = run_job(self.job(stage, log.with_suffix(".again.log")))
        left = sum(1 for path in self.disk.rglob(".*") if ".tmp." in path.name)
        found = fingerprint.digests(self.disk)
        odd = fingerprint.differences(self.wanted[stage], found)
        cut = fingerprint.cut_short(self.before[stage], self.wanted[stage], after, _EVOLVING[stage])
        text = struck.log.read_text(encoding="utf-8", errors="replace")
        said = [line for line in text.splitlines() if "error:" in line]
        return {
            "stage": stage,
            "fault": fault,
            "moment": str(moment),
            "struck": struck.struck,
            "status": struck.status,
            "seconds_to_end": round(struck.seconds_to_end, 2),
            "left_processes": struck.left,
            "said": said[-1] if said else "",
            "traceback": "Traceback" in text,
            "cut_short": cut,
            "again": again.status,
            "left_files": left,
            "differences": odd,
        }


def good(trial: dict[str, Any]) -> bool:
    """Whether a trial shows what is wanted."""
    ended_well = trial["struck"] is False or trial["status"] != 0 or trial["fault"] == "full"
    told = trial["fault"] == "kill" or trial["status"] == 0 or trial["said"]
    clean = not (trial["differences"] or trial["cut_short"] or trial["left_processes"])
    return bool(ended_well and told and clean and trial["again"] == 0 and not trial["traceback"])


def moments(bench: Bench, stage: int, count: int, rng: random.Random) -> list[Moment]:
    """Draw when to strike: half by the clock, half by the count of file operations."""
    drawn = []
    for number in range(count):
        if number % 2 == 0 and bench.events[stage]:
            drawn.append(Moment("event", rng.randint(1, bench.events[stage])))
        else:
            drawn.append(Moment("cpu", round(rng.uniform(0.0, bench.cpu[stage]), 2)))
    return drawn


def summarize(trials: Sequence[dict[str, Any]]) -> str:
    """Return a Markdown table: a row a stage and fault."""
    rows = [
        "| stage | fault | trials | struck | good | slowest end, s |",
        "|---|---|---|---|---|---|",
    ]
    keys = sorted({(trial["stage"], trial["fault"]) for trial in trials})
    for stage, fault in keys:
        own = [t for t in trials if (t["stage"], t["fault"]) == (stage, fault)]
        slowest = max(t["seconds_to_end"] for t in own)
        struck, fine = sum(t["struck"] for t in own), sum(map(good, own))
        rows.append(f"| {stage} | {fault} | {len(own)} | {struck} | {fine} | {slowest:.1f} |")
    return "\n".join(rows)


def get_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", type=Path, help="folder for everything; it must not be there")
    parser.add_argument("--moments", type=int, default=20, help="trials a stage and fault")
    parser.add_argument("--stages", type=int, nargs="+", default=list(STAGES), choices=STAGES)
    parser.add_argument("--faults", nargs="+", default=list(FAULTS), choices=FAULTS)
    parser.add_argument("--through", choices=("mains", "recipe"), default="mains")
    parser.add_argument("--seed", type=int, default=0, help="draws the moments")
    parser.add_argument("--at", help="one moment only, such as event:17 or cpu:0.8")
    return parser


def main() -> int:
    """Run all trials; the exit status says whether all were good."""
    args = get_parser().parse_args()
    args.work.mkdir(parents=True)
    (args.work / "logs").mkdir()
    bench = Bench(args.work.resolve(), args.through)
    bench.disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={_DISK_MEGABYTES}m", "tmpfs", str(bench.disk)]
    mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    print("disk: in memory" if mounted else "disk: cannot mount one, file sizes are limited")
    os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")
    try:
        make_sources(bench.source)
        if args.through == "mains":
            preload(max(args.stages))
        bench.whole_runs(max(args.stages))
        trials = run_trials(bench, args)
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(bench.disk)], check=False)
    print(summarize(trials))
    bad = [trial for trial in trials if not good(trial)]
    print(f"{len(trials) - len(bad)} of {len(trials)} trials good")
    return 1 if bad else 0


def run_trials(bench: Bench, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Run the trials asked for; each bad one is told at once."""
    trials = []
    for stage in args.stages:
        for fault in args.faults:
            rng = random.Random(f"{args.seed} {stage} {fault}")
            drawn = moments(bench, stage, args.moments, rng)
            if args.at:
                drawn = [Moment.parse(args.at)]
            for moment in drawn:
                trial = bench.trial(stage, fault, moment)
                if not trial["struck"] and not args.at:  # it was through before
                    moment = moments(bench, stage, 1, rng)[0]
                    trial = bench.trial(stage, fault, moment)
                trials.append(trial)
                with open(bench.work / "trials.jsonl", "a", encoding="utf-8") as handle:
                    handle.write(json.dumps(trial) + "\n")
                if not good(trial):
                    print(f"BAD {json.dumps(trial)}", flush=True)
            told = Counter(good(t) for t in trials if (t["stage"], t["fault"]) == (stage, fault))
            print(f"stage {stage}, {fault}: {told[True]} good, {told[False]} bad", flush=True)
    return trials


if __name__ == "__main__":
    raise SystemExit(main())
