"""An experiments folder as stages 3 and 4 leave it, without training anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

METRICS = ("PESQ_WB", "STOI", "SI_SDR")
UTTERANCES = tuple(f"p257_{i:03d}" for i in range(12))


def write_scores(folder: Path, gain: float, seed: int = 0) -> None:
    """Write ``scores.csv`` and ``summary.json`` whose scores lie ``gain`` above a common base."""
    from featnorm_se.metrics.scoring import to_csv
    from featnorm_se.metrics.summary import summarize
    from featnorm_se.metrics.worker import Row

    base = np.random.default_rng(7).uniform(1.2, 2.5, len(UTTERANCES))
    jitter = np.random.default_rng(seed).normal(0, 0.02, len(UTTERANCES))
    rows = [
        Row(
            name,
            {"PESQ_WB": b + gain + j, "STOI": 0.8 + 0.05 * gain, "SI_SDR": 8 * b + 10 * gain},
        )
        for name, b, j in zip(UTTERANCES, base, jitter, strict=True)
    ]
    conditions = {
        name: (("bus", "cafe")[i % 2], (2.5, 7.5, 12.5, 17.5)[i % 4])
        for i, name in enumerate(UTTERANCES)
    }
    summary = summarize(rows, METRICS, conditions)
    summary["versions"] = {"pesq": "0.0.4", "pystoi": "0.4.1"}
    folder.mkdir(parents=True)
    (folder / "scores.csv").write_text(to_csv(rows, METRICS))
    (folder / "summary.json").write_text(json.dumps(summary))


def run_record(norm: str, **more: Any) -> dict[str, Any]:
    """Return a ``run.json`` as stage 3 writes it."""
    return {
        "name": f"tera_{norm}",
        "command": f"./run.sh --upstream tera --norm {norm}",
        "commit": "0123abc",
        "dirty": False,
        "seed": 0,
        "upstream": "tera",
        "upstream_ckpt": "scratch",
        "upstream_identity": {"sha256": "feed"},
        "norm": norm,
        "norm_site": "projection",
        "versions": {"python": "3.11.2", "torch": "2.13.0"},
        "machine": {"cpu": "some | cpu", "cores": 2, "gpu": None},
        "data": {"resampler": "soxr VHQ"},
        "parameters": {"total": 41234, "trainable": 41000},
        "training_seconds": 192.4,
        "best_epoch": 7,
        "epochs": 8,
        **more,
    }


@pytest.fixture
def expdir(tmp_path: Path) -> Path:
    """Two experiments of one upstream, the noisy input, and a folder that is none."""
    exp = tmp_path / "exp"
    write_scores(exp / "noisy/scores_test", 0.0)
    for norm, gain in (("none", 0.3), ("utterance", 0.45)):
        write_scores(exp / f"tera_{norm}/scores_test", gain, seed=len(norm))
        (exp / f"tera_{norm}/run.json").write_text(json.dumps(run_record(norm)))
    (exp / "stats").mkdir()
    return exp


@pytest.fixture
def with_audio(expdir: Path, tmp_path: Path) -> Path:
    """Add the audio of every utterance; return the folder of data directories."""
    import soundfile

    rng = np.random.default_rng(3)
    data = tmp_path / "data/test"
    folders = {
        data / "wav.scp": 0.2,
        data / "spk1.scp": 0.0,
        expdir / "tera_none/enhanced_test/spk1.scp": 0.1,
        expdir / "tera_utterance/enhanced_test/spk1.scp": 0.05,
    }
    for scp, noise in folders.items():
        audio = scp.parent / scp.stem
        audio.mkdir(parents=True)
        lines = []
        for i, name in enumerate(UTTERANCES):
            time = np.arange(8000 + 400 * i) / 16000
            tone = 0.3 * np.sin(2 * np.pi * 300 * time) + noise * rng.standard_normal(len(time))
            soundfile.write(audio / f"{name}.wav", np.clip(tone, -1, 1), 16000)
            lines.append(f"{name} {audio / name}.wav\n")
        scp.write_text("".join(lines))
    for norm in ("none", "utterance"):
        log = "".join(
            f"INFO: {epoch}epoch results: [train] iter_time=0.1, loss={1 / epoch:.3f}, [valid]"
            f" loss={1.2 / epoch:.3f}, time=1 seconds\n"
            for epoch in (1, 2, 3)
        )
        (expdir / f"tera_{norm}/train.log").write_text(log)
    return data.parent
