"""An experiments folder as stages 3 and 4 leave it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from golden_numbers import write_pairs
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
    data = tmp_path / "data/test"
    write_pairs(data, len(UTTERANCES), 9600, 0)
    for norm, scp in (("none", "wav.scp"), ("utterance", "spk1.scp")):
        enhanced = expdir / f"tera_{norm}/enhanced_test"
        enhanced.mkdir()
        shutil.copy(data / scp, enhanced / "spk1.scp")
    for norm in ("none", "utterance"):
        log = "".join(
            f"INFO: {epoch}epoch results: [train] iter_time=0.1, loss={1 / epoch:.3f}, [valid]"
            f" loss={1.2 / epoch:.3f}, time=1 seconds\n"
            for epoch in (1, 2, 3)
        )
        (expdir / f"tera_{norm}/train.log").write_text(log)
    return data.parent
