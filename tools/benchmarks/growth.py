#!/usr/bin/env python3
"""How costs grow: a fine-tuning step with batch and length, statistics and scoring with the corpus.

    python tools/benchmarks/growth.py --output doc     # writes doc/growth.csv and doc/growth.png

Every point is a process of its own, so that its peak memory is its own. The plot shows processor
time, which a busy machine changes less than the clock on the wall; the CSV has both.
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from timing import Cost, command_cost, print_table

ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS")}


class Series(NamedTuple):
    """One curve: what grows, in what unit, and its costs by size."""

    name: str
    unit: str
    points: dict[float, Cost]


def step_cost(upstream: str, batch: int, seconds: float, repeat: int) -> Cost:
    """Train a few steps in a process of its own; the least processor time counts."""
    shape = [upstream, str(batch), str(seconds), str(repeat)]
    with tempfile.NamedTemporaryFile("r", suffix=".json") as told:
        command_cost([sys.executable, __file__, "--worker", *shape, told.name], ONE_THREAD)
        return Cost(**json.load(told))


def work(upstream: str, batch: int, seconds: float, repeat: int) -> Cost:
    """Train, after one step that is not counted."""
    import torch
    from data_loading import model, step

    parts = model(upstream)
    wav = torch.randn(batch, int(16000 * seconds)) * 0.05
    step(*parts, wav)
    costs = []
    for _ in range(repeat):
        started, busy = time.perf_counter(), time.process_time()
        step(*parts, wav)
        costs.append((time.process_time() - busy, time.perf_counter() - started))
    cpu, wall = min(costs)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Cost(wall, cpu, peak)


def make_corpus(folder: Path, size: int, seconds: float = 4.0) -> None:
    """Write noisy and clean files and an scp of ``n`` of them for every power of two."""
    import numpy as np
    import soundfile

    rng = np.random.default_rng(0)
    lines: dict[str, list[str]] = {"clean": [], "noisy": []}
    for index in range(size):
        clean = rng.normal(size=int(16000 * seconds)) * 0.05
        for kind, wav in (("clean", clean), ("noisy", clean + rng.normal(size=clean.shape) * 0.01)):
            path = folder / f"{kind}{index}.flac"
            soundfile.write(path, wav, 16000)
            lines[kind].append(f"u{index:05d} {path}\n")
    count = size
    while count:
        for kind, told in lines.items():
            (folder / f"{kind}.{count}.scp").write_text("".join(told[:count]))
        count //= 2


def collect(folder: Path, upstream: str, count: int) -> Cost:
    """Collect clean statistics of ``count`` files."""
    command = ["featnorm_se.bin.collect_stats", "--upstream", upstream, "--upstream_ckpt"]
    command += ["scratch", "--wav_scp", str(folder / f"clean.{count}.scp")]
    command += ["--output", str(folder / f"stats{count}.npz")]
    return command_cost([sys.executable, "-m", *command], ONE_THREAD)


def score(folder: Path, count: int) -> Cost:
    """Score ``count`` files by STOI and SI_SDR."""
    command = ["featnorm_se.bin.score", "--ref", str(folder / f"clean.{count}.scp")]
    command += ["--inf", str(folder / f"noisy.{count}.scp"), "--nj", "1", "--metrics", "STOI"]
    command += ["SI_SDR", "--output", str(folder / f"scores{count}")]
    return command_cost([sys.executable, "-m", *command], ONE_THREAD)


def measure(args: argparse.Namespace) -> list[Series]:
    """Measure all curves."""

    def told(what: str, cost: Cost) -> Cost:
        print(f"{what}: {cost.cpu:.2f} s, {cost.peak_mib:.0f} MiB", file=sys.stderr, flush=True)
        return cost

    def steps(batch: int, seconds: float) -> Cost:
        cost = step_cost(args.upstream, batch, seconds, args.repeat)
        return told(f"step of {batch} chunks of {seconds:g} s", cost)

    name, fixed = args.upstream, min(args.batches)
    curves = [
        Series(
            f"training step, {name}, chunks of {args.seconds:g} s",
            "batch",
            {n: steps(n, args.seconds) for n in args.batches},
        ),
        Series(
            f"training step, {name}, batch {fixed}",
            "seconds",
            {s: steps(fixed, s) for s in args.lengths},
        ),
    ]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        make_corpus(folder, args.files)
        sizes = [args.files >> shift for shift in (3, 2, 1, 0)]
        collected = {n: told(f"statistics of {n}", collect(folder, name, n)) for n in sizes}
        scored = {n: told(f"scores of {n}", score(folder, n)) for n in sizes}
    curves.append(Series(f"statistics, {name}, files of 4 s", "files", dict(collected)))
    curves.append(Series("scoring STOI and SI_SDR, files of 4 s", "files", dict(scored)))
    return curves


def write_csv(path: Path, curves: Sequence[Series]) -> None:
    """Write one line a point."""
    with path.open("w", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(["what", "grows", "size", "cpu_seconds", "seconds", "peak_mib"])
        for curve in curves:
            for size, cost in curve.points.items():
                row = [f"{value:.3f}" for value in (cost.cpu, cost.seconds) if value is not None]
                writer.writerow([curve.name, curve.unit, f"{size:g}", *row, f"{cost.peak_mib:.0f}"])


def plot(path: Path, curves: Sequence[Series]) -> None:
    """Draw time above and memory below, a column a curve, axes from zero."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, len(curves), figsize=(3 * len(curves), 4.6), sharex="col")
    for column, curve in enumerate(curves):
        sizes = list(curve.points)
        values = [
            [c.cpu for c in curve.points.values()],
            [c.peak_mib for c in curve.points.values()],
        ]
        for axis, costs, color in zip(axes[:, column], values, ("C0", "C1"), strict=True):
            axis.plot(sizes, costs, marker="o", color=color)
            axis.set_xlim(left=0)
            axis.set_ylim(0, 1.1 * max(costs))
            axis.grid(alpha=0.3)
        axes[0, column].set_title(curve.name.replace(", ", "\n", 1), fontsize=8)
        axes[1, column].set_xlabel(curve.unit)
    axes[0, 0].set_ylabel("processor seconds")
    axes[1, 0].set_ylabel("peak MiB")
    figure.tight_layout()
    figure.savefig(path, dpi=80)
    pyplot.close(figure)


def main() -> None:
    """Measure, print, and write the files where asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--upstream", default="wavlm")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--seconds", type=float, default=2.0, help="of a chunk, as batches grow")
    parser.add_argument("--lengths", type=float, nargs="+", default=[1.0, 2.0, 4.0, 8.0])
    parser.add_argument("--files", type=int, default=256, help="of the largest corpus")
    parser.add_argument("--repeat", type=int, default=3, help="steps a point; the least counts")
    parser.add_argument("--output", type=Path, help="folder for growth.csv and growth.png")
    parser.add_argument("--quick", action="store_true", help="few and small points")
    parser.add_argument("--worker", nargs=5, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        upstream, batch, seconds, repeat, target = args.worker
        cost = work(upstream, int(batch), float(seconds), int(repeat))
        Path(target).write_text(json.dumps(vars(cost)))
        return
    if args.quick:
        args.upstream, args.batches, args.lengths, args.files = "tera", [1, 2], [1.0], 8
        args.repeat, args.seconds = 1, 0.5
    curves = measure(args)
    costs, pairs = {}, {}
    for curve in curves:
        first, last = min(curve.points), max(curve.points)
        for size in (first, last):
            costs[f"{curve.name} {size:g}"] = [curve.points[size]]
        what = f"{curve.name}: {last:g} / {first:g} {curve.unit}"
        pairs[what] = (f"{curve.name} {last:g}", f"{curve.name} {first:g}")
    print_table(costs, pairs)
    if args.output:
        write_csv(args.output / "growth.csv", curves)
        plot(args.output / "growth.png", curves)


if __name__ == "__main__":
    main()
