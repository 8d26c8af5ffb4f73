from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from featnorm_se.metrics import composite

Array = NDArray[np.float64]
RATE = 16000


def test_frames_follow_the_definition() -> None:
    window = composite.frames(np.ones(16000), RATE)
    assert window.shape == (int(16000 / 120 - 4), 480)
    n = 7
    assert window[3, n - 1] == pytest.approx(0.5 * (1 - np.cos(2 * np.pi * n / 481)))
    framed = composite.frames(np.arange(16000.0), RATE)
    np.testing.assert_allclose((framed / window)[:, 0], 120.0 * np.arange(len(framed)))
    assert composite.frames(np.ones(600), RATE).shape == (1, 480)
    with pytest.raises(ValueError, match="599 samples are too few, 600"):
        composite.frames(np.ones(599), RATE)


def test_critical_bands_peak_at_their_centres() -> None:
    bands = composite.critical_bands(RATE, 1024)
    assert bands.shape == (25, 512)
    centres = np.floor(np.array(composite.BAND_CENTRES) * 1024 / RATE)
    np.testing.assert_array_equal(bands.argmax(axis=1), centres)
    np.testing.assert_allclose(bands.max(axis=1), 70.0 / np.array(composite.BAND_WIDTHS))
    assert bands[bands > 0].min() > np.exp(-30 / (2 * 2.303))


def test_a_perfect_copy(speech: Array) -> None:
    assert composite.wss(speech, speech, RATE) == 0.0
    assert composite.llr(speech, speech, RATE) == pytest.approx(0.0, abs=1e-12)
    assert composite.ssnr(speech, speech, RATE) == 35.0


def test_ssnr_of_a_gain(speech: Array) -> None:
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
