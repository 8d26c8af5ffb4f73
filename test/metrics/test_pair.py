from __future__ import annotations

import sys

import numpy as np
import pytest
from numpy.typing import NDArray

from featnorm_se.errors import FeatnormError
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


@pytest.mark.parametrize(
    ("ref", "inf", "reason"),
    [
        (np.ones(9), np.ones(8), "other length"),
        (np.zeros(16000), np.arange(16000.0), "the reference is silent"),
        (np.arange(16000.0), np.full(16000, 0.1), "the signal to score is silent"),
        (np.arange(3.0), np.array([0.0, np.nan, 1.0]), "holds NaN"),
        (np.ones((3, 2)), np.ones((3, 2)), "one channel"),
        (np.ones(0), np.ones(0), "is empty"),
    ],
)
def test_bad_signals_are_refused(ref: Array, inf: Array, reason: str) -> None:
    with pytest.raises(FeatnormError, match=reason):
        score_pair(ref, inf, 16000, ["SI_SDR"])


def test_an_unknown_metric_is_refused(speech: Array) -> None:
    with pytest.raises(FeatnormError, match="no metric is named 'MOS'.*PESQ_WB"):
        score_pair(speech, speech, 16000, ["MOS"])


def test_one_failing_measure_leaves_the_others(speech: Array, noisy: Array) -> None:
    short = slice(4000, 7000)
    scores, reasons = score_measures(
        speech[short], noisy[short], 16000, ("PESQ_WB", "SI_SDR", "COVL")
    )
    assert set(scores) == {"SI_SDR"}
    assert "at least 1/4 of a second" in reasons["PESQ_WB"]
    assert reasons["COVL"].startswith("PESQ_WB ")


def test_pesq_without_speech_has_a_reason(
    speech: Array, noisy: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pesq

    def refuse(*_: object) -> float:
        raise pesq.NoUtterancesError(b"No utterances detected")

    monkeypatch.setattr(pesq, "pesq", refuse)
    with pytest.raises(FeatnormError, match="PESQ_WB: finds nothing to score: No utterances det"):
        score_pair(speech, noisy, 16000, ["PESQ_WB", "STOI"])


def test_pesq_needs_its_rate(speech: Array, noisy: Array) -> None:
    with pytest.raises(FeatnormError, match="PESQ_WB: needs 16000 Hz, not 48000 Hz"):
        score_pair(speech, noisy, 48000, ["PESQ_WB"])
    assert score_pair(speech, noisy, 8000, ["PESQ_NB"])["PESQ_NB"] > 1.0


@pytest.mark.parametrize(
    ("package", "metric"), [("speechmos", "DNSMOS"), ("pystoi", "ESTOI"), ("pesq", "CSIG")]
)
def test_a_missing_package_is_named(
    speech: Array, monkeypatch: pytest.MonkeyPatch, package: str, metric: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(FeatnormError, match=f"{metric}.*the package {package} is missing: pip"):
        score_pair(speech, speech, 16000, [metric])


def test_dnsmos_scores_speech(speech: Array, noisy: Array) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("speechmos.dnsmos")
    scores = score_pair(speech, noisy, 16000, ["DNSMOS"])
    assert list(scores) == ["DNSMOS_OVRL", "DNSMOS_SIG", "DNSMOS_BAK", "DNSMOS_P808"]
    assert all(0.5 < value < 5.0 for value in scores.values())
