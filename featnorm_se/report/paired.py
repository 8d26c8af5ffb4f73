"""Differences of experiments over the same utterances, and over the same seeds."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from featnorm_se.errors import FeatnormError
from featnorm_se.metrics.summary import student_t

RESAMPLES = 2000
# A difference below this is a tie: scores.csv has six decimals.
TIE = 1e-6
Scores = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Comparison:
    """The outcome of ``compare``.

    Attributes:
        utterances: the names that both have a score for.
        differences: second less first, shape (utterances,).
        mean: their mean.
        low, high: the 95 % bootstrap interval of the mean.
        wins, ties, losses: utterances where the second is higher, the same, lower.
    """

    utterances: list[str]
    differences: NDArray[np.float64]
    mean: float
    low: float
    high: float
    wins: int
    ties: int
    losses: int


def compare(first: Scores, second: Scores, metric: str) -> Comparison:
    """Compare two tables of scores utterance by utterance.

    The interval is the percentile bootstrap's over utterances (B. Efron, "Bootstrap methods:
    another look at the jackknife", Annals of Statistics 7(1), 1979) with 2000 resamples and a
    fixed seed, so that it is the same at every call.

    Args:
        first: values by metric, by utterance: what is compared with.
        second: the same for what is judged.
        metric: the metric's name.

    Raises:
        FeatnormError: the tables have no utterance with this metric in common.
    """
    names = sorted(
        name
        for name in first.keys() & second.keys()
        if metric in first[name] and metric in second[name]
    )
    if not names:
        raise FeatnormError(f"no utterance has {metric} in both score tables: score both with it")
    differences = np.array([second[name][metric] - first[name][metric] for name in names])
    low, high = crossed_interval(differences[None])
    return Comparison(
        names,
        differences,
        float(differences.mean()),
        low,
        high,
        int(np.sum(differences > TIE)),
        int(np.sum(np.abs(differences) <= TIE)),
        int(np.sum(differences < -TIE)),
    )


@dataclass(frozen=True)
class Contrast:
    """A difference of rows, run by run.

    Attributes:
        seeds: those that all rows have.
        utterances: the names that all their runs have a score for.
        values: the difference, shape (seeds, utterances).
    """

    seeds: list[int]
    utterances: list[str]
    values: NDArray[np.float64]

    @property
    def mean(self) -> float:
        """The difference's mean over seeds and utterances."""
        return float(self.values.mean())

    def interval(self) -> tuple[float, float]:
        """Return the mean's 95 % interval, see ``crossed_interval``."""
        return crossed_interval(self.values)

    def among(self, names: Collection[str]) -> Contrast:
        """Return what there is of some utterances."""
        chosen = [i for i, name in enumerate(self.utterances) if name in names]
        return Contrast(self.seeds, [self.utterances[i] for i in chosen], self.values[:, chosen])


def contrast(terms: Sequence[tuple[float, Mapping[int, Scores]]], metric: str) -> Contrast:
    """Take a weighted sum of rows, paired by seed and by utterance.

    Runs of one seed share their order of data and the random weights that both have, so they
    are compared with each other.

    Args:
        terms: weight of a row, and its scores by seed: ``[(1, judged), (-1, baseline)]``.
        metric: the metric's name.

    Raises:
        FeatnormError: the rows have no seed, or no utterance with this metric, in common.
    """
    seeds = sorted(set.intersection(*(set(runs) for _, runs in terms)))
    if not seeds:
        raise FeatnormError("the rows have no seed in common: run them with the same seeds")
    tables = [runs[seed] for _, runs in terms for seed in seeds]
    shared = set.intersection(*(set(table) for table in tables))
    names = sorted(name for name in shared if all(metric in table[name] for table in tables))
    if not names:
        raise FeatnormError(f"no utterance has {metric} in all score tables: score all with it")
    values = np.zeros((len(seeds), len(names)))
    for weight, runs in terms:
        values += weight * np.array([[runs[s][name][metric] for name in names] for s in seeds])
    return Contrast(seeds, names, values)


def crossed_interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of a mean over seeds and utterances.

    Seeds and utterances are drawn anew independently of each other, and every drawn seed meets
    every drawn utterance: A. B. Owen, "The pigeonhole bootstrap", Annals of Applied Statistics
    1(2), 2007. Percentiles of means of few draws are too close: T. Hesterberg, "What teachers
    should know about the bootstrap", The American Statistician 69(4), 2015, moves them out to
    where Student's t has them. Here that is done for the seeds, which are few, by stretching what
    sets one seed apart from the others; utterances are many. With one seed it is the bootstrap
    over utterances, which says nothing about other seeds. 2000 resamples, fixed seed.

    Args:
        values: shape (seeds, utterances).
    """
    seeds, utterances = values.shape
    rng = np.random.default_rng(0)
    picks = rng.integers(0, utterances, size=(RESAMPLES, utterances))
    if seeds > 1:
        own = values.mean(axis=1, keepdims=True) - values.mean()
        values = values + (_stretch(seeds) - 1.0) * own
    means = np.stack([row[picks].mean(axis=1) for row in values], axis=1)
    drawn = rng.integers(0, seeds, size=(RESAMPLES, seeds))
    means = np.take_along_axis(means, drawn, axis=1).mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def _stretch(count: int) -> float:
    """Return what makes the bootstrap's spread of a mean of so many values Student's."""
    normal = NormalDist().inv_cdf(0.975)
    return student_t(count - 1) / normal * math.sqrt(count / (count - 1))
