from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from featnorm_se.data.audio import read_audio
from featnorm_se.metrics import DEFAULT_METRICS, score_pair
from featnorm_se.metrics.pair import CannotScore, score_measures, sdr, si_sdr, stoi

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


def test_dnsmos_scores_speech(speech: Array, noisy: Array) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("speechmos.dnsmos")
    scores = score_pair(speech, noisy, 16000, ["DNSMOS"])
    assert list(scores) == ["DNSMOS_OVRL", "DNSMOS_SIG", "DNSMOS_BAK", "DNSMOS_P808"]
    assert all(0.5 < value < 5.0 for value in scores.values())


Array = NDArray[np.float64]


def test_si_sdr_feels_neither_gain_nor_offset(speech: Array, noisy: Array) -> None:
    value = si_sdr(speech, noisy)
    assert value == pytest.approx(10.0, abs=0.3)
    assert si_sdr(speech, 0.1 * noisy + 0.2) == pytest.approx(value, abs=1e-9)
    assert si_sdr(3 * speech - 0.1, noisy) == pytest.approx(value, abs=1e-9)


def test_si_sdr_of_orthogonal_noise_is_exact_and_stays_within_limits(speech: Array) -> None:
    time = np.arange(16000) * 2 * np.pi / 16000
    sine, cosine = np.sin(100 * time), np.cos(200 * time)
    assert si_sdr(sine, sine + 0.1 * cosine) == pytest.approx(20.0)
    assert si_sdr(speech, speech) == 100.0
    assert si_sdr(sine, np.cos(100 * time)) == -100.0


def test_sdr_agrees_with_bss_eval(speech: Array, noisy: Array) -> None:
    separation = pytest.importorskip("mir_eval.separation")
    with pytest.warns(FutureWarning):
        expected = separation.bss_eval_sources(speech[None], noisy[None])[0][0]
    assert sdr(speech, noisy) == pytest.approx(expected, abs=0.01)


def test_stoi_of_too_few_frames_is_no_score(speech: Array, noisy: Array) -> None:
    with pytest.raises(CannotScore, match="needs 30 frames"):
        stoi(speech[:2000], noisy[:2000], 16000)


# ---- as another implementation scores real noisy speech, per utterance

TOLERANCE = {
    **dict.fromkeys(("PESQ_WB", "STOI", "ESTOI"), 1e-4),
    "SI_SDR": 1e-2,
    **dict.fromkeys(("CSIG", "CBAK", "COVL", "SSNR", "WSS", "LLR"), 0.02),
}
STEP = 18


def test_agrees_with_the_reference(real_set: tuple[Path, list[dict[str, str]]]) -> None:
    root, table = real_set
    assert len(table[::STEP]) >= 20
    found: dict[str, list[float]] = {name: [] for name in TOLERANCE}
    for row in table[::STEP]:
        ref = read_audio(root / "clean" / f"{row['utt_id']}.flac")
        inf = read_audio(root / "noisy" / f"{row['utt_id']}.flac")
        for metric, value in score_pair(ref, inf, 16000, list(TOLERANCE)).items():
            difference = value - float(row[metric])
            assert abs(difference) <= TOLERANCE[metric], (row["utt_id"], metric)
            found[metric].append(difference)
    for metric, differences in found.items():
        assert len(differences) == len(table[::STEP])
        assert abs(np.mean(differences)) <= 0.005, metric
