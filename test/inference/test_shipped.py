"""The model inside the package: found, small, with its papers, and good for something."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from featnorm_se import Enhancer
from featnorm_se.data.audio import read_audio
from featnorm_se.inference.model_file import SHIPPED, read_member
from featnorm_se.metrics import score_pair

PAIRS = Path(__file__).parents[3] / "shared" / "data" / "voicebank_demand_p257_16k"
shipped = pytest.mark.skipif(not SHIPPED.is_file(), reason="no model is shipped yet")


@shipped
def test_the_shipped_model_is_small_and_has_its_papers():
    assert SHIPPED.stat().st_size < 15e6
    card = read_member(SHIPPED, "README.md").decode()
    for wanted in ("pretrain.py", "run.sh", "LibriSpeech", "CC BY 4.0"):
        assert wanted in card, f"its card says nothing of {wanted}"
    assert "| PESQ_WB |" in card, "its card has no scores"
    assert "\nlicense: " in card and "not stated" not in card
    assert "TODO" not in card and "/home/" not in card
    assert not re.search(r"(?<![\w./])/\w", card), "its card names a path of some machine"


@shipped
@pytest.mark.skipif(not PAIRS.is_dir(), reason="no recordings here")
def test_the_shipped_model_makes_real_recordings_better():
    enhance = Enhancer.from_pretrained()
    gains = []
    # Conditions come round by fours: a step that four divides would meet one SNR only.
    for path in sorted((PAIRS / "noisy").iterdir())[::46]:
        clean, noisy = read_audio(PAIRS / "clean" / path.name), read_audio(path)
        before, after = (
            score_pair(clean, x, metrics=["PESQ_WB", "SI_SDR"]) for x in (noisy, enhance(noisy))
        )
        gains.append([after[name] - before[name] for name in ("PESQ_WB", "SI_SDR")])
    assert len(gains) >= 8
    pesq, si_sdr = np.mean(gains, axis=0)
    assert pesq > 0.2 and si_sdr > 2, f"PESQ_WB {pesq:+.3f}, SI_SDR {si_sdr:+.2f} dB"
