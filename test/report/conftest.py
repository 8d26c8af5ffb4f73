"""An experiments folder as stages 3 and 4 leave it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from made_experiments import UTTERANCES, run_record, write_scores


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
