"""Levels and mixing, against signals whose answer is known and against the real corpus."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from corpus.mix import active_level, mix_at_snr, rms
from hypothesis import given, settings
from hypothesis import strategies as st

from featnorm_se.data.corpus import find_pairs, read_log
from featnorm_se.errors import FeatnormError

SHARED = Path(__file__).parents[3].parent / "shared" / "data" / "voicebank_demand"


def tone(seconds: float, amplitude: float = 0.1) -> np.ndarray:
    time = np.arange(round(16000 * seconds)) / 16000
    return (amplitude * np.sin(2 * np.pi * 440 * time)).astype(np.float32)


def test_pauses_do_not_lower_the_level() -> None:
    speech = tone(3.0)
    paused = np.concatenate([np.zeros(32000, np.float32), speech, np.zeros(32000, np.float32)])
    assert rms(paused) < 0.7 * rms(speech)
    # The hangover of 200 ms counts a little of the pause after the speech.
    assert active_level(paused, 16000) == pytest.approx(rms(speech), rel=0.06)


def test_silence_has_no_level_and_cannot_be_mixed() -> None:
    assert active_level(np.zeros(16000, np.float32), 16000) == 0.0
    with pytest.raises(FeatnormError, match="silence"):
        mix_at_snr(np.zeros(16000, np.float32), tone(1.0), 5.0, 16000)


@settings(max_examples=30, deadline=None)
@given(snr=st.floats(-20, 30), loud=st.floats(1e-3, 3.0), noise_loud=st.floats(1e-3, 3.0))
def test_the_mix_has_the_snr_asked_for_and_never_clips(snr, loud, noise_loud) -> None:
    rng = np.random.default_rng(0)
    speech = tone(1.0, loud)
    noise = (noise_loud * rng.standard_normal(16000)).astype(np.float32)
    clean, noisy = mix_at_snr(speech, noise, snr, 16000)
    assert max(np.abs(clean).max(), np.abs(noisy).max()) <= 0.9901
    found = 20 * np.log10(active_level(clean, 16000) / rms(noisy - clean))
    assert found == pytest.approx(snr, abs=0.05)
    gain = clean[100:].astype(float).dot(speech[100:]) / speech[100:].astype(float).dot(
        speech[100:]
    )
    assert gain <= 1.0 + 1e-6
    assert np.allclose(clean, gain * speech, atol=1e-5)


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/data")
def test_the_level_is_the_one_voicebank_demand_was_mixed_with() -> None:
    pairs = find_pairs(SHARED / "noisy_trainset_28spk_wav", SHARED / "clean_trainset_28spk_wav")
    log = read_log(SHARED / "log_trainset_28spk.txt")
    errors = []
    for pair in pairs:
        noisy, rate = soundfile.read(pair.noisy, dtype="float32")
        clean, _ = soundfile.read(pair.clean, dtype="float32")
        found = 20 * np.log10(active_level(clean, rate) / rms(noisy - clean))
        errors.append(found - log[pair.name][1])
    assert len(errors) == 16
    assert abs(np.mean(errors)) < 0.2 and np.max(np.abs(errors)) < 0.7
