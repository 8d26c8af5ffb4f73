"""Every score of real noisy speech agrees with another implementation's, per utterance."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from featnorm_se.data.audio import read_audio
from featnorm_se.metrics import score_pair

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
