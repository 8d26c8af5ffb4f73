#!/usr/bin/env python3
"""Scoring PESQ_WB, STOI and SI_SDR: our command beside espnet2.bin.enh_scoring.

Whole commands on the same files with the same number of processes, in turn. ESPnet's is run as
its recipes run it, one process a shard; it scores ESTOI, SDR, SIR and SAR too and cannot be told
not to. The floor is what the calls of ``pesq.pesq`` alone take in as many processes. On a busy
machine look at the CPU time and not at the seconds.

    python tools/benchmarks/scoring.py
    python tools/benchmarks/scoring.py --pairs DIR --files 20 --repetitions 3
"""

from __future__ import annotations

import argparse
import csv
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import soundfile
from timing import Cost, command_cost, costs_in_turn, print_table

METRICS = ("PESQ_WB", "STOI", "SI_SDR")
REAL = Path(__file__).resolve().parents[2].parent / "shared/data/voicebank_demand_p257_16k"
ONE_THREAD = {f"{part}_NUM_THREADS": "1" for part in ("OMP", "MKL", "OPENBLAS")}
Pairs = list[tuple[str, str, str]]


def main() -> None:
    """Time and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=Path, default=REAL, help="folder with clean/ and noisy/")
    parser.add_argument("--files", type=int, default=100)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="4 made-up files, once")
    parser.add_argument("--floor", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.floor:
        floor(args.floor)
        return
    if args.quick:
        args.pairs, args.files, args.repetitions = Path(), 4, 1
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        pairs = list_pairs(args.pairs, args.files)
        if not pairs:
            print(f"no pairs in {args.pairs}: scoring made-up files", file=sys.stderr)
            pairs = list_pairs(make_pairs(work / "made", args.files), args.files)
        # One file first: it loads the programs, so that nothing later waits for the disk.
        contestants = contestants_for(pairs[:1], 1, work / "one", "one file")
        contestants |= contestants_for(pairs, 1, work, "1 process")
        contestants |= contestants_for(pairs, 2, work, "2 processes")
        costs = costs_in_turn(contestants, args.repetitions, warm_up=False)
        check(work)
    print(f"{len(pairs)} files, {', '.join(METRICS)}, {len(os.sched_getaffinity(0))} cores\n")
    report(costs)


def list_pairs(root: Path, count: int) -> Pairs:
    """List the first ``count`` utterances that are in ``clean`` and ``noisy``: name and files."""
    clean = sorted(
        path for path in (root / "clean").glob("*") if (root / "noisy" / path.name).exists()
    )
    return [(path.stem, str(path), str(root / "noisy" / path.name)) for path in clean[:count]]


def make_pairs(root: Path, count: int) -> Path:
    """Write pairs of a buzz in syllables and the same with noise, 2.8 s each."""
    rng = np.random.default_rng(0)
    moments = np.arange(int(2.8 * 16000)) / 16000
    for folder in ("clean", "noisy"):
        (root / folder).mkdir(parents=True)
    for index in range(count):
        pitch = 2 * np.pi * rng.uniform(90, 220) * moments
        buzz = sum(np.sin(k * pitch + rng.uniform(0, 6)) / k for k in range(1, 30))
        speech = 0.1 * buzz * np.clip(np.sin(2 * np.pi * 3 * moments), 0, 1)
        noisy = speech + 0.02 * rng.standard_normal(len(moments))
        for folder, signal in (("clean", speech), ("noisy", noisy)):
            soundfile.write(root / folder / f"u{index:03}.flac", signal.clip(-1, 1), 16000)
    return root


def contestants_for(pairs: Pairs, nj: int, work: Path, label: str) -> dict[str, Callable[[], Cost]]:
    """Return what runs with ``nj`` processes: our command, ESPnet's, and PESQ alone."""
    folder = work / f"nj{nj}"
    folder.mkdir(parents=True)
    scps = {"ref": folder / "ref.scp", "inf": folder / "inf.scp"}
    for column, scp in enumerate(scps.values(), start=1):
        scp.write_text("".join(f"{pair[0]} {pair[column]}\n" for pair in pairs))
    shards = []
    for index, part in enumerate(np.array_split(np.arange(len(pairs)), nj)):
        shards.append(folder / f"keys.{index}.scp")
        shards[-1].write_text("".join(" ".join(pairs[i]) + "\n" for i in part))
    ours = [sys.executable, "-m", "featnorm_se.bin.score", "--nj", str(nj), "--metrics", *METRICS]
    ours += ["--ref", str(scps["ref"]), "--inf", str(scps["inf"]), "--output", str(folder / "ours")]
    espnet = [sys.executable, "-m", "espnet2.bin.enh_scoring", "--use_pesq", "true"]
    espnet += ["--ref_scp", str(scps["ref"]), "--inf_scp", str(scps["inf"])]

    def run_ours() -> Cost:
        shutil.rmtree(folder / "ours", ignore_errors=True)  # nothing from the cache
        return command_cost(ours, ONE_THREAD)

    def run_espnet() -> Cost:
        outputs = [["--key_file", str(s), "--output_dir", f"{s}.espnet"] for s in shards]
        return together([[*espnet, *output] for output in outputs])

    def run_floor() -> Cost:
        together([[sys.executable, __file__, "--floor", str(shard)] for shard in shards])
        costs = [Path(f"{s}.floor").read_text().split() for s in shards]
        return Cost(max(float(wall) for wall, _ in costs), sum(float(cpu) for _, cpu in costs))

    runs = {"ours": run_ours, "espnet": run_espnet, "PESQ's calls": run_floor}
    return {f"{name}, {label}": run for name, run in runs.items()}


def together(commands: list[list[str]]) -> Cost:
    """Run commands side by side; the seconds of all, their CPU, the largest one's peak."""
    started = time.perf_counter()
    with ThreadPoolExecutor(len(commands)) as threads:
        costs = list(threads.map(lambda command: command_cost(command, ONE_THREAD), commands))
    seconds = time.perf_counter() - started
    return Cost(seconds, sum(c.cpu or 0.0 for c in costs), max(c.peak_mib or 0.0 for c in costs))


def floor(shard: Path) -> None:
    """Call PESQ on a shard's files, and write what the calls alone took beside it."""
    from pesq import pesq

    pairs = [line.split() for line in shard.read_text().splitlines()]
    signals = [(soundfile.read(ref)[0], soundfile.read(inf)[0]) for _, ref, inf in pairs]
    began, busy = time.perf_counter(), time.process_time()
    for ref, inf in signals:
        pesq(16000, ref, inf, "wb")
    cost = f"{time.perf_counter() - began} {time.process_time() - busy}\n"
    Path(f"{shard}.floor").write_text(cost)


def check(work: Path) -> None:
    """See that both told the same PESQ and STOI: they worked on the same thing."""
    for folder in (work / "nj1", work / "nj2"):
        with open(folder / "ours" / "scores.csv", newline="") as handle:
            ours = {row["utt_id"]: row for row in csv.DictReader(handle)}
        for name, scale in (("PESQ_WB", 1.0), ("STOI", 100.0)):
            lines = [
                line.split()
                for shard in folder.glob("keys.*.espnet")
                for line in (shard / f"{name}_spk1").read_text().splitlines()
            ]
            worst = max(abs(float(value) / scale - float(ours[key][name])) for key, value in lines)
            if len(lines) != len(ours) or worst > 1e-4:
                raise SystemExit(f"{name} differs by {worst} in {len(lines)} of {len(ours)} files")


def report(costs: dict[str, list[Cost]]) -> None:
    """Print the ratios. One file's is the start-up; the efficiency of two is perfect at 1."""
    pairs = {}
    for label in ("1 process", "2 processes", "one file"):
        ours = f"ours, {label}"
        pairs[f"enh_scoring / ours, {label}"] = (f"espnet, {label}", ours)
        pairs[f"PESQ's calls alone / ours, {label}"] = (f"PESQ's calls, {label}", ours)
    for side, name in (("ours", "ours"), ("espnet", "enh_scoring")):
        two = costs[f"{side}, 2 processes"]
        costs[f"{side}, twice"] = [Cost(2 * c.seconds, c.cpu, c.peak_mib) for c in two]
        pairs[f"{name}: 1 process / twice the seconds of 2 (at least 0.83)"] = (
            f"{side}, 1 process",
            f"{side}, twice",
        )
    print_table(costs, pairs)


if __name__ == "__main__":
    main()
