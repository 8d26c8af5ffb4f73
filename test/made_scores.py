"""Scores as stage 4 leaves them, without scoring anything."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from featnorm_se.metrics.scoring import to_csv
from featnorm_se.metrics.summary import summarize
from featnorm_se.metrics.worker import Row


def write_scores(experiment: Path, rows: Sequence[Row], conditions: Any = None) -> Path:
    """Write ``scores_test`` of an experiment's folder, and return it."""
    folder = experiment / "scores_test"
    folder.mkdir(parents=True, exist_ok=True)
    metrics = list(dict.fromkeys(metric for row in rows for metric in row.scores))
    (folder / "scores.csv").write_text(to_csv(rows, metrics))
    (folder / "summary.json").write_text(json.dumps(summarize(rows, metrics, conditions)))
    return folder
