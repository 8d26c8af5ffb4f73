"""Differences of experiments over the same utterances, and over the same seeds."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from featnorm_se.errors import FeatnormError, say
from featnorm_se.files import PathLike
from featnorm_se.metrics.names import METRICS, resolve
from featnorm_se.metrics.summary import FEWEST, student_t
from featnorm_se.report.experiments import (
    SCORES_PREFIX,
    Scores,
    read_experiment,
    same_decoding,
    same_input,
    same_length,
)

RESAMPLES = 2000
# A difference below this is a tie: scores.csv has six decimals.
TIE = 1e-6


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

    @property
    def wins_ties_losses(self) -> tuple[int, int, int]:
        """Of how many runs of utterances the difference is above zero, none, and below."""
        wins, losses = int(np.sum(self.values > TIE)), int(np.sum(self.values < -TIE))
        return wins, self.values.size - wins - losses, losses

    @cached_property  # the page draws it and writes it
    def interval(self) -> tuple[float, float] | None:
        """The mean's 95 % interval, see ``crossed_interval``."""
        return crossed_interval(self.values)


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
        has = f"has {metric} in all score tables: score all with it, or take other --metrics"
        raise FeatnormError(f"no utterance {has if shared else 'is in all score tables'}")
    values = np.zeros((len(seeds), len(names)))
    for weight, runs in terms:
        values += weight * np.array([[runs[s][name][metric] for name in names] for s in seeds])
    return Contrast(seeds, names, values)


def compare(first: Scores, second: Scores, metric: str) -> Contrast:
    """Take what a table, ``second``, lies above another; raises what ``contrast`` does."""
    return contrast([(1.0, {0: second}), (-1.0, {0: first})], metric)


def crossed_interval(values: NDArray[np.float64]) -> tuple[float, float] | None:
    """Return the 95 % bootstrap interval of the mean of values, (seeds, utterances).

    Seeds and utterances are drawn anew independently of each other, and every drawn seed meets
    every drawn utterance: A. B. Owen, "The pigeonhole bootstrap", Annals of Applied Statistics
    1(2), 2007. Percentiles of means of few draws are too close: T. Hesterberg, "What teachers
    should know about the bootstrap", The American Statistician 69(4), 2015, moves them out to
    where Student's t has them. Here that is done for the seeds, which are few, by stretching what
    sets one seed apart from the others. With one seed, which says nothing about others, it is done
    for the utterances. 2000 resamples, fixed seed. Fewer than three utterances give none.
    """
    from scipy.special import ndtri

    seeds, utterances = values.shape
    if utterances < FEWEST:
        return None
    rng = np.random.default_rng(0)
    picks = rng.integers(0, utterances, size=(RESAMPLES, utterances))
    # What makes the bootstrap's spread of a mean of so many values Student's.
    few, each = (seeds, values.mean(axis=1, keepdims=True)) if seeds > 1 else (utterances, values)
    stretch = student_t(few - 1) / ndtri(0.975) * math.sqrt(few / (few - 1))
    values = values + (stretch - 1.0) * (each - values.mean())
    means = np.stack([row[picks].mean(axis=1) for row in values], axis=1)
    drawn = rng.integers(0, seeds, size=(RESAMPLES, seeds))
    low, high = np.quantile(np.take_along_axis(means, drawn, axis=1).mean(axis=1), [0.025, 0.975])
    return float(low), float(high)


def compare_folders(
    baseline: PathLike, others: Sequence[PathLike], metrics: Sequence[str], testset: str = "test"
) -> dict[str, dict[str, Contrast]]:
    """Compare experiments, folders ``exp/<name>``, with the baseline on one test set.

    Returns:
        By metric, the comparisons by a label of two lines, ``<other>`` and ``less <baseline>``.

    Raises:
        FeatnormError: a metric is unknown, a folder has no scores on the test set that count, or
            two have no scored utterance in common.
    """
    names = resolve(metrics)
    experiments = [read_experiment(Path(folder)) for folder in (baseline, *others)]
    for one in experiments:
        if testset not in one.summaries:
            if not one.folder.is_dir():
                raise FeatnormError(f"there is no such experiment: {one.folder}")
            where = f"{one.folder}/{SCORES_PREFIX}{testset}"
            mend = "run stage 4 with its --tag, or name another --test_set"
            raise FeatnormError(f"no scores in {where} that count: {mend}")
        if not same_input((one, experiments[0]), testset):
            both = f"{one.folder} and {baseline} go back to test pairs of other times or places"
            say(f"warning: {both}: if these are other recordings, run stage 4 of both")
        if not same_decoding((one, experiments[0]), testset):
            say(f"warning: {one.folder} and {baseline} were enhanced with other settings")
        if not same_length((one, experiments[0])):
            say(f"warning: {one.folder} and {baseline} were trained with another max_epoch each")
    first, *rest = (one.scores(testset) for one in experiments)
    rows = [one.name for one in experiments]
    if len({*rows}) < len(rows):
        rows = [str(one.folder) for one in experiments]
    labels = [f"{row}\nless {rows[0]}" for row in rows[1:]]
    found: dict[str, dict[str, Contrast]] = {metric: {} for metric in names}
    for metric, (label, table) in product(names, zip(labels, rest, strict=True)):
        try:
            found[metric][label] = compare(first, table, metric)
        except FeatnormError as error:
            raise FeatnormError(f"{' '.join(label.split())}: {error}") from error
        shared, scored = len(found[metric][label].utterances), max(len(first), len(table))
        if shared < scored:
            count = f"{shared} of {scored} utterances have {metric} in both"
            say(f"warning: {' '.join(label.split())}: {count}: the others are left out")
    return found


def comparison_table(comparisons: Mapping[str, Contrast], metric: str) -> list[list[str]]:
    """Return the comparisons as rows of text, with a heading."""
    rows = [["comparison", "utterances", "mean", "95 % interval", "wins", "ties", "losses"]]
    for label, found in comparisons.items():
        finer = METRICS[metric].decimals + 1
        ends = " .. ".join(f"{end:+.{finer}f}" for end in found.interval or ())
        numbers = [f"{found.mean:+.{finer}f}", ends or "too few utterances"]
        numbers += [str(count) for count in found.wins_ties_losses]
        rows.append([" ".join(label.split()), str(len(found.utterances)), *numbers])
    return rows
