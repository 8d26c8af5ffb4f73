from __future__ import annotations

import numpy as np
import pytest

from featnorm_se.errors import FeatnormError
from featnorm_se.report.paired import compare


def test_only_common_utterances_count() -> None:
    first = {"a": {"STOI": 0.5}, "b": {"STOI": 0.6}, "c": {"STOI": 0.7}, "x": {"STOI": 0.0}}
    second = {"a": {"STOI": 0.7}, "b": {"STOI": 0.6}, "c": {"STOI": 0.6}, "y": {}, "x": {}}
    told = compare(first, second, "STOI")
    assert told.utterances == ["a", "b", "c"]
    assert told.differences == pytest.approx([0.2, 0.0, -0.1])
    assert (told.wins, told.ties, told.losses) == (1, 1, 1)
    assert told.mean == pytest.approx(0.1 / 3)
    assert told.low <= told.mean <= told.high


def test_the_interval_is_that_of_the_mean_and_repeats() -> None:
    values = np.random.default_rng(0).normal(0.3, 1.0, 400)
    first = {str(i): {"SSNR": 0.0} for i in range(400)}
    second = {str(i): {"SSNR": value} for i, value in enumerate(values)}
    told = compare(first, second, "SSNR")
    half = 1.96 * values.std() / 20
    assert told.high - told.low == pytest.approx(2 * half, rel=0.1)
    again = compare(first, second, "SSNR")
    assert (told.low, told.high) == (again.low, again.high)
    back = compare(second, first, "SSNR")
    assert back.mean == pytest.approx(-told.mean)
    assert (back.wins, back.losses) == (told.losses, told.wins)


def test_nothing_in_common_is_told() -> None:
    with pytest.raises(FeatnormError, match="no utterance has STOI in both"):
        compare({"a": {"STOI": 1.0}}, {"b": {"STOI": 1.0}}, "STOI")
