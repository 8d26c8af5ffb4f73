"""What stages 3 and 4 leave in an experiment's folder, without training anything."""

import json
import shutil
from pathlib import Path
from typing import Any

import made_scores
import numpy as np
from golden_numbers import write_pairs

from featnorm_se.metrics.worker import Row

UTTERANCES = tuple(f"test_{i:02d}" for i in range(12))


def write_scores(folder: Path, gain: float, seed: int = 0) -> None:
    """Write ``scores.csv`` and ``summary.json`` whose scores lie ``gain`` above a common base."""
    base = np.random.default_rng(7).uniform(1.2, 2.5, len(UTTERANCES))
    jitter = np.random.default_rng(seed).normal(0, 0.02, len(UTTERANCES))
    rows = [
        Row(name, {"PESQ_WB": b + gain + j, "STOI": 0.8 + 0.05 * gain, "SI_SDR": 8 * b + 10 * gain})
        for name, b, j in zip(UTTERANCES, base, jitter, strict=True)
    ]
    conditions = {
        name: (("bus", "cafe")[i % 2], (2.5, 7.5, 12.5, 17.5)[i % 4])
        for i, name in enumerate(UTTERANCES)
    }
    made_scores.write_scores(folder.parent, rows, conditions)
    update(folder / "summary.json", versions={"pesq": "0.0.4", "pystoi": "0.4.1"})


def run_record(norm: str, **more: Any) -> dict[str, Any]:
    """Return a ``run.json`` as stage 3 writes it."""
    told = {"upstream": "tera", "norm": norm, "norm_site": "projection", "seed": 0}
    told |= {"upstream_ckpt": "scratch", "upstream_identity": {"sha256": "feed"}}
    return {
        **told,
        "name": f"tera_{norm}",
        "command": f"./run.sh --upstream tera --norm {norm}",
        "commit": "0123abc",
        "dirty": False,
        "versions": {"python": "3.11.2", "torch": "2.13.0"},
        "machine": {"cpu": "some | cpu", "cores": 2, "gpu": None},
        "data": {"resampler": "soxr VHQ"},
        "parameters": {"total": 41234, "trainable": 41000},
        "training_seconds": 192.4,
        "best_epoch": 7,
        "epochs": 8,
        **more,
    }


def update(path: Path, **changes: Any) -> None:
    """Change values of a JSON file."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def make_experiments(exp: Path) -> Path:
    """Write two experiments of one upstream, the noisy input, and a folder that is none."""
    write_scores(exp / "noisy/scores_test", 0.0)
    for norm, gain in (("none", 0.3), ("utterance", 0.45)):
        write_scores(exp / f"tera_{norm}/scores_test", gain, seed=len(norm))
        (exp / f"tera_{norm}/run.json").write_text(json.dumps(run_record(norm)))
        (exp / f"tera_{norm}/1epoch.pth").touch()
    (exp / "stats").mkdir()
    return exp


def add_audio(exp: Path, data: Path) -> None:
    """Add the audio of every utterance, with its data directory, and what training logged."""
    write_pairs(data / "test", len(UTTERANCES), 9600, 0)
    for norm, scp in (("none", "wav.scp"), ("utterance", "spk1.scp")):
        (exp / f"tera_{norm}/enhanced_test").mkdir()
        shutil.copy(data / "test" / scp, exp / f"tera_{norm}/enhanced_test/spk1.scp")
        log = "".join(
            f"INFO: {epoch}epoch results: [train] iter_time=0.1, loss={1 / epoch:.3f}, [valid]"
            f" loss={1.2 / epoch:.3f}, time=1 seconds\n"
            for epoch in (1, 2, 3)
        )
        (exp / f"tera_{norm}/train.log").write_text(log)
