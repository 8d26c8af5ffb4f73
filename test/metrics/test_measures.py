from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from featnorm_se.metrics.pair import CannotScore, sdr, si_sdr, stoi

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
