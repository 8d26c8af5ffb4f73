"""Differences of two experiments over the same utterances."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featnorm_se.errors import FeatnormError

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
    rng = np.random.default_rng(0)
    picks = rng.integers(0, len(names), size=(RESAMPLES, len(names)))
    low, high = np.quantile(differences[picks].mean(axis=1), [0.025, 0.975])
    return Comparison(
        names,
        differences,
        float(differences.mean()),
        float(low),
        float(high),
        int(np.sum(differences > TIE)),
        int(np.sum(np.abs(differences) <= TIE)),
        int(np.sum(differences < -TIE)),
    )
