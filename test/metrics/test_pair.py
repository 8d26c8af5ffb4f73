from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from featnorm_se.metrics import DEFAULT_METRICS, score_pair
from featnorm_se.metrics.pair import score_measures

Array = NDArray[np.float64]


def test_scores_come_in_the_tables_order(speech: Array, noisy: Array) -> None:
    scores = score_pair(speech, noisy)
    assert tuple(scores) == DEFAULT_METRICS
    assert 1.0 < scores["PESQ_WB"] < 4.65
    assert 0.0 < scores["ESTOI"] < scores["STOI"] < 1.0
    assert list(score_pair(speech, noisy, 16000, ["SSNR", "SDR"])) == ["SDR", "SSNR"]


def test_level_counts_where_it_must(speech: Array, noisy: Array) -> None:
    """No hidden level change: SSNR and CBAK fall with the level, PESQ and SI_SDR stay."""
    full, half = score_pair(speech, noisy), score_pair(speech, 0.5 * noisy)
    assert half["PESQ_WB"] == pytest.approx(full["PESQ_WB"], abs=1e-3)
    assert half["SI_SDR"] == pytest.approx(full["SI_SDR"], abs=1e-6)
    assert half["SSNR"] < full["SSNR"] - 0.5
    assert half["CBAK"] < full["CBAK"]


def test_one_failing_measure_leaves_the_others(speech: Array, noisy: Array) -> None:
    short = slice(4000, 7000)
    scores, reasons = score_measures(
        speech[short], noisy[short], 16000, ("PESQ_WB", "SI_SDR", "COVL")
    )
    assert set(scores) == {"SI_SDR"}
    assert "at least 1/4 of a second" in reasons["PESQ_WB"]
    assert reasons["COVL"].startswith("PESQ_WB ")


def test_distillmos_scores_speech(speech: Array, noisy: Array) -> None:
    pytest.importorskip("distillmos")
    values = [score_pair(speech, x, 16000, ["DISTILLMOS"])["DISTILLMOS"] for x in (speech, noisy)]
    assert all(0.5 < value < 5.5 for value in values)
    assert values[0] != values[1]


def test_dnsmos_scores_speech(speech: Array, noisy: Array) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("speechmos.dnsmos")
    scores = score_pair(speech, noisy, 16000, ["DNSMOS"])
    assert list(scores) == ["DNSMOS_OVRL", "DNSMOS_SIG", "DNSMOS_BAK", "DNSMOS_P808"]
    assert all(0.5 < value < 5.0 for value in scores.values())
