from __future__ import annotations

import numpy as np
import pytest

from featnorm_se.errors import FeatnormError
from featnorm_se.report import paired
from featnorm_se.report.paired import compare, contrast, crossed_interval


def test_only_common_utterances_count() -> None:
    first = {"a": {"STOI": 0.5}, "b": {"STOI": 0.6}, "c": {"STOI": 0.7}, "x": {"STOI": 0.0}}
    second = {"a": {"STOI": 0.7}, "b": {"STOI": 0.6}, "c": {"STOI": 0.6}, "y": {}, "x": {}}
    found = compare(first, second, "STOI")
    assert found.utterances == ["a", "b", "c"]
    assert found.values[0] == pytest.approx([0.2, 0.0, -0.1])
    assert found.wins_ties_losses == (1, 1, 1)
    assert found.mean == pytest.approx(0.1 / 3)
    with pytest.raises(FeatnormError, match="no utterance has STOI"):
        compare({"a": {"STOI": 1.0}}, {"b": {"STOI": 1.0}}, "STOI")


def test_the_interval_is_that_of_the_mean_and_repeats() -> None:
    values = np.random.default_rng(0).normal(0.3, 1.0, 400)
    first = {str(i): {"SSNR": 0.0} for i in range(400)}
    second = {str(i): {"SSNR": value} for i, value in enumerate(values)}
    low, high = compare(first, second, "SSNR").interval()
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)
    assert (low, high) == compare(first, second, "SSNR").interval()


def simulate(rng: np.random.Generator, seeds: int, of_seed: float, utterances: int = 60):
    """Differences whose true mean is 0: a part of the seed, one of the utterance, and a rest."""
    return (
        rng.normal(0.0, of_seed, (seeds, 1))
        + rng.normal(0.0, 0.30, (1, utterances))
        + rng.normal(0.0, 0.10, (seeds, utterances))
    )


def test_an_interval_over_seeds_and_utterances_covers_the_truth(monkeypatch) -> None:
    monkeypatch.setattr(paired, "RESAMPLES", 400)
    rng = np.random.default_rng(2)
    hits = 0
    for _ in range(120):
        low, high = crossed_interval(simulate(rng, 3, 0.1))
        hits += low <= 0.0 <= high
    assert 0.90 <= hits / 120 <= 0.995


def test_seeds_that_differ_widen_the_interval_and_equal_ones_do_not() -> None:
    values = simulate(np.random.default_rng(4), 5, 0.1)
    low, high = crossed_interval(values)
    over_utterances = crossed_interval(values.mean(axis=0, keepdims=True))
    assert high - low > 1.5 * (over_utterances[1] - over_utterances[0])
    same = np.repeat(values[:1], 5, axis=0)
    assert crossed_interval(same) == pytest.approx(crossed_interval(values[:1]), abs=1e-12)
    assert (low, high) == crossed_interval(values)


def test_a_contrast_is_paired_by_seed_and_utterance() -> None:
    def table(**values):
        return {name: {"STOI": value} for name, value in values.items()}

    fn = {0: table(a=0.5, b=0.7, x=1.0), 1: table(a=0.6, b=0.9), 7: table(a=0.0, b=0.0)}
    none = {1: table(a=0.5, b=0.6), 0: table(b=0.6, a=0.5)}
    found = contrast([(1, fn), (-1, none)], "STOI")
    assert (found.seeds, found.utterances) == ([0, 1], ["a", "b"])
    assert found.values == pytest.approx(np.array([[0.0, 0.1], [0.1, 0.3]]))
    assert found.mean == pytest.approx(0.125)
    twice = contrast([(1, fn), (-1, none), (-1, fn), (1, none)], "STOI")
    assert twice.values == pytest.approx(np.zeros((2, 2)))
