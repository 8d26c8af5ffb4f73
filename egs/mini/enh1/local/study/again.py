"""Rows that were run again, on another machine say, beside the runs that their interval is of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from estimate import Estimate, one_more, over_seeds

from featnorm_se.errors import FeatnormError
from featnorm_se.metrics.names import METRICS
from featnorm_se.report.experiments import Experiment, read_experiments
from study.by_row import split_seed


@dataclass(frozen=True)
class Again:
    """One row and metric.

    Attributes:
        row: the runs' name without the seed.
        metric: which.
        first: mean over the seeds of the first runs.
        seeds: how many those are.
        expected: where one more run falls 95 times of 100.
        means: what the other runs got, by seed.
    """

    row: str
    metric: str
    first: Estimate
    seeds: int
    expected: tuple[float, float]
    means: dict[int, float]

    @property
    def inside(self) -> int:
        """How many of the other runs fell where they are expected."""
        low, high = self.expected
        return sum(low <= mean <= high for mean in self.means.values())


def _means(
    experiments: Sequence[Experiment], testset: str, metric: str
) -> dict[str, dict[int, float]]:
    found: dict[str, dict[int, float]] = {}
    for experiment in experiments:
        named, mean = split_seed(experiment.name), experiment.mean(testset, metric)
        if named and mean is not None:
            found.setdefault(named[0], {})[named[1]] = mean
    return found


def run_again(
    first: Path, other: Path, metrics: Sequence[str], testset: str = "test"
) -> list[Again]:
    """Compare the rows that both folders have; a row needs two seeds in the first.

    Args:
        first: folder of experiments ``<row>_seed<N>`` whose spread says what is expected.
        other: folder of the runs that are held against it.
        metrics: which.
        testset: the test set's name.

    Raises:
        FeatnormError: a folder holds no experiments, or they have no row in common.
    """
    found = []
    firsts, others = read_experiments(first), read_experiments(other)
    for metric in metrics:
        known, again = _means(firsts, testset, metric), _means(others, testset, metric)
        for row in sorted(known.keys() & again.keys()):
            estimate = over_seeds(list(known[row].values()))
            expected = one_more(estimate, len(known[row]))
            if expected is not None:
                found.append(Again(row, metric, estimate, len(known[row]), expected, again[row]))
    if not found:
        raise FeatnormError(
            f"{other} has no row of which {first} has two seeds with {' or '.join(metrics)}"
        )
    return found


def to_markdown(rows: Sequence[Again]) -> str:
    """Return the comparison as a table, with how many runs fell inside below it."""
    lines = [
        "| row | metric | mean (seeds) | one more run | run again: mean (seeds) | inside |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for row in rows:
        places = METRICS[row.metric].decimals
        mean = sum(row.means.values()) / len(row.means)
        cells = [
            row.row,
            row.metric,
            f"{row.first.mean:.{places}f} ({row.seeds})",
            f"{row.expected[0]:.{places}f} to {row.expected[1]:.{places}f}",
            f"{mean:.{places}f} ({len(row.means)})",
            f"{row.inside} of {len(row.means)}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    inside, count = sum(row.inside for row in rows), sum(len(row.means) for row in rows)
    lines += ["", f"Inside: {inside} of {count}; 95 of 100 are expected."]
    return "\n".join(lines) + "\n"
