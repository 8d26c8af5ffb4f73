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

SHARED = Path(__file__).parents[3].parent / "shared" / "data" / "voicebank_demand"


@settings(max_examples=30, deadline=None)
@given(snr=st.floats(-20, 30), loud=st.floats(1e-3, 3.0), noise_loud=st.floats(1e-3, 3.0))
def test_the_mix_has_the_snr_asked_for_and_never_clips(snr, loud, noise_loud) -> None:
    rng = np.random.default_rng(0)
    speech = loud * np.sin(2 * np.pi * 440 * np.arange(16000) / 16000).astype(np.float32)
    noise = (noise_loud * rng.standard_normal(16000)).astype(np.float32)
    clean, noisy = mix_at_snr(speech, noise, snr, 16000)
    assert max(np.abs(clean).max(), np.abs(noisy).max()) <= 0.9901
    found = 20 * np.log10(active_level(clean, 16000) / rms(noisy - clean))
    assert found == pytest.approx(snr, abs=0.05)
    gain = clean.astype(float).dot(speech) / speech.astype(float).dot(speech)
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
