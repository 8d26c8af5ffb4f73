from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from featnorm_se.data.audio import read_audio
from featnorm_se.metrics import DEFAULT_METRICS, composite, score_pair
from featnorm_se.metrics.pair import score_measures, sdr, si_sdr, stoi

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
    # Its energy is 0 in double precision: there is no ratio, and so no improvement of it.
    scores, reasons = score_measures(speech, 1e-170 * noisy, 16000, ("SI_SDRi",), noisy)
    assert scores == {} and reasons == {"SI_SDRi": "is nan"}


def test_dnsmos_scores_speech(speech: Array, noisy: Array) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("speechmos.dnsmos")
    scores = score_pair(speech, noisy, 16000, ["DNSMOS"])
    assert list(scores) == ["DNSMOS_OVRL", "DNSMOS_SIG", "DNSMOS_BAK", "DNSMOS_P808"]
    assert all(0.5 < value < 5.0 for value in scores.values())


def test_si_sdr_is_exact_within_limits_and_feels_neither_gain_nor_offset(speech, noisy) -> None:
    value = si_sdr(speech, noisy)
    assert value == pytest.approx(10.0, abs=0.3)
    assert si_sdr(speech, 0.1 * noisy + 0.2) == pytest.approx(value, abs=1e-9)
    assert si_sdr(3 * speech - 0.1, noisy) == pytest.approx(value, abs=1e-9)

    time = np.arange(16000) * 2 * np.pi / 16000
    sine, cosine = np.sin(100 * time), np.cos(200 * time)
    assert si_sdr(sine, sine + 0.1 * cosine) == pytest.approx(20.0)
    assert si_sdr(speech, speech) == 100.0
    assert si_sdr(sine, np.cos(100 * time)) == -100.0


def test_what_is_shorter_than_a_tenth_of_a_second_has_no_ratio(speech: Array, noisy: Array) -> None:
    both = ("SI_SDR", "SDR")
    assert score_measures(speech[:1599], noisy[:1599], 16000, both)[0] == {}
    assert [*score_measures(speech[:1600], noisy[:1600], 16000, both)[0]] == [*both]


def test_sdr_agrees_with_bss_eval(speech: Array, noisy: Array) -> None:
    separation = pytest.importorskip("mir_eval.separation")
    with pytest.warns(FutureWarning):
        expected = separation.bss_eval_sources(speech[None], noisy[None])[0][0]
    assert sdr(speech, noisy) == pytest.approx(expected, abs=0.01)


def test_stoi_of_too_few_frames_is_no_score(speech: Array, noisy: Array) -> None:
    with pytest.raises(ValueError, match="needs 30 frames"):
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


# ---- the composite measures

RATE = 16000


def test_frames_follow_the_definition() -> None:
    window = composite.frames(np.ones(16000), RATE)
    assert window.shape == (int(16000 / 120 - 4), 480)
    n = 7
    assert window[3, n - 1] == pytest.approx(0.5 * (1 - np.cos(2 * np.pi * n / 481)))
    framed = composite.frames(np.arange(16000.0), RATE)
    np.testing.assert_allclose((framed / window)[:, 0], 120.0 * np.arange(len(framed)))
    assert composite.frames(np.ones(600), RATE).shape == (1, 480)


def test_critical_bands_peak_at_their_centres() -> None:
    bands = composite.critical_bands(RATE, 1024)
    assert bands.shape == (25, 512)
    centres = np.floor(np.array(composite.BAND_CENTRES) * 1024 / RATE)
    np.testing.assert_array_equal(bands.argmax(axis=1), centres)
    np.testing.assert_allclose(bands.max(axis=1), 70.0 / np.array(composite.BAND_WIDTHS))
    assert bands[bands > 0].min() > np.exp(-30 / (2 * 2.303))


def test_a_perfect_copy_and_a_gain(speech: Array) -> None:
    assert composite.wss(speech, speech, RATE) == 0.0
    assert composite.llr(speech, speech, RATE) == pytest.approx(0.0, abs=1e-12)
    assert composite.ssnr(speech, speech, RATE) == 35.0
    # The error is a tenth of the signal in every frame that has one: 20 dB.
    loud = speech + 1e-3 * np.random.default_rng(0).standard_normal(len(speech))
    assert composite.ssnr(loud, 0.9 * loud, RATE) == pytest.approx(20.0, abs=1e-6)
    assert composite.ssnr(loud, -9.0 * loud, RATE) == pytest.approx(-10.0)


def test_digital_silence_gives_finite_numbers(speech: Array) -> None:
    silence = np.zeros_like(speech)
    gapped = speech.copy()
    gapped[4000:12000] = 0.0
    for ref, inf in ((speech, silence), (silence, speech), (gapped, speech), (speech, gapped)):
        for measure in (composite.wss, composite.llr, composite.ssnr):
            assert np.isfinite(measure(ref, inf, RATE))
    assert composite.llr(silence, silence, RATE) == 0.0


def test_composite_formulae_and_limits() -> None:
    found = composite.composite(2.0, 0.5, 30.0, 5.0)
    assert found["CSIG"] == pytest.approx(3.093 - 0.5145 + 1.206 - 0.27)
    assert found["CBAK"] == pytest.approx(1.634 + 0.956 - 0.21 + 0.315)
    assert found["COVL"] == pytest.approx(1.594 + 1.61 - 0.256 - 0.21)
    assert set(composite.composite(1.0, 9.0, 900.0, -10.0).values()) == {1.0}
    assert set(composite.composite(9.0, 0.0, 0.0, 35.0).values()) == {5.0}
