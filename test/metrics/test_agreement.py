"""Every score of real noisy speech agrees with another implementation's, per utterance."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from featnorm_se.data.audio import read_audio
from featnorm_se.metrics import score_pair

TOLERANCE = {
    "PESQ_WB": 1e-4,
    "STOI": 1e-4,
    "ESTOI": 1e-4,
    "SI_SDR": 1e-2,
    "CSIG": 0.02,
    "CBAK": 0.02,
    "COVL": 0.02,
    "SSNR": 0.02,
    "WSS": 0.02,
    "LLR": 0.02,
}
STEP = 9


@pytest.fixture(scope="module")
def differences(
    real_set: tuple[Path, list[dict[str, str]]],
) -> tuple[list[str], dict[str, list[float]]]:
    root, table = real_set
    names, found = [], {name: [] for name in TOLERANCE}
    for row in table[::STEP]:
        ref = read_audio(root / "clean" / f"{row['utt_id']}.flac")
        inf = read_audio(root / "noisy" / f"{row['utt_id']}.flac")
        scores = score_pair(ref, inf, 16000, list(TOLERANCE))
        names.append(row["utt_id"])
        for metric, value in scores.items():
            found[metric].append(value - float(row[metric]))
    return names, found


@pytest.mark.parametrize("metric", TOLERANCE)
def test_agrees_with_the_reference(
    metric: str, differences: tuple[list[str], dict[str, list[float]]]
) -> None:
    names, found = differences
    values = np.abs(found[metric])
    assert len(values) == len(names) >= 40
    worst = int(np.argmax(values))
    assert values[worst] <= TOLERANCE[metric], f"{names[worst]} differs by {values[worst]}"
    assert abs(np.mean(found[metric])) <= 0.005
