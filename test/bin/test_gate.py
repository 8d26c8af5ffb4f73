"""The gate: what it lets pass, and what it stops."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from featnorm_se.bin import run
from featnorm_se.bin.gate import main
from featnorm_se.metrics.cache import Row
from featnorm_se.metrics.summary import summarize

NAMES = [f"p232_{n:03d}" for n in range(393)] + [f"p257_{n:03d}" for n in range(431)]


METRICS = ("PESQ_WB", "PESQ_NB", "STOI")


def gate(
    folder: Path, pesq: float | None, stoi: float, names: list[str] = NAMES, failed: int = 0
) -> int:
    """Score as stage 4 writes it, of utterances spread as real ones are, with these means."""
    rng = np.random.default_rng(0)
    spread = {
        "PESQ_WB": (pesq, rng.gamma(2.0, 0.5, len(names))),
        "PESQ_NB": (2.6, rng.normal(0, 0.5, len(names))),
        "STOI": (stoi, -rng.gamma(2.0, 0.04, len(names))),
    }
    columns = {
        metric: np.round(mean + noise - noise.mean(), 6)
        for metric, (mean, noise) in spread.items()
        if mean is not None
    }
    metrics = [metric for metric in METRICS if metric in columns]
    rows = [
        Row(name, {metric: float(columns[metric][i]) for metric in metrics})
        for i, name in enumerate(names)
    ]
    rows[:failed] = [Row(name, fault="it is silent") for name in names[:failed]]
    folder.mkdir(exist_ok=True)
    (folder / "summary.json").write_text(json.dumps(summarize(rows, metrics)))
    with open(folder / "scores.csv", "w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["utt_id", *metrics, "reason"])
        writer.writerows(
            [r.utt_id, *(r.scores.get(m, "") for m in metrics), r.fault or ""] for r in rows
        )
    return run(main, ["--scores", str(folder)])


@pytest.mark.parametrize(
    ("pesq", "stoi"), [(1.972, 0.921), (1.968, 0.9205), (1.96, 0.911), (1.98, 0.931)]
)
def test_the_measured_values_pass(tmp_path, capsys, pesq, stoi) -> None:
    assert gate(tmp_path, pesq, stoi) == 0
    told = capsys.readouterr().out
    assert "as published" in told and f"PESQ_WB {pesq:.3f} (published 1.97)" in told


@pytest.mark.parametrize(
    ("pesq", "stoi", "first"),
    [
        (1.959, 0.921, "the resampler"),
        (1.981, 0.921, "the resampler"),
        (2.60, 0.921, "narrow-band PESQ"),
        (None, 0.921, "narrow-band PESQ"),
        (1.972, 0.9, "narrow-band PESQ, or another PESQ or STOI program"),
        (1.7, 0.88, "other files than the official ones"),
    ],
)
def test_other_values_stop_and_name_the_causes(tmp_path, capsys, pesq, stoi, first) -> None:
    assert gate(tmp_path, pesq, stoi) == 1
    error = capsys.readouterr().err
    assert f"the likeliest first: {first}" in error and error.count("\n") == 1
    for said in ("resampler", "narrow-band", "other files", "--skip_gate true"):
        assert said in error
    off = "STOI" if first.endswith("STOI program") else "PESQ_WB"
    assert f"{off} off by more than 0.01" in error or "PESQ_WB and STOI off" in error


def test_a_part_of_the_corpus_goes_on_and_says_so(tmp_path, capsys) -> None:
    assert gate(tmp_path, 2.5, 0.9, NAMES[:24]) == 0
    assert "24 utterances of 1 speakers are not the official test set" in capsys.readouterr().out
    assert gate(tmp_path, 2.5, 0.9, NAMES[:-1]) == 0
    assert "823 utterances of 2 speakers are not" in capsys.readouterr().out
    assert gate(tmp_path, 2.5, 0.9, [name.replace("p232", "p226") for name in NAMES]) == 0


def test_a_few_that_could_not_be_scored_leave_it_the_whole_set(tmp_path, capsys) -> None:
    assert gate(tmp_path, 1.972, 0.921, failed=2) == 0
    assert "as published" in capsys.readouterr().out
    assert gate(tmp_path, 1.94, 0.921, failed=2) == 1


def test_no_scores_is_told(tmp_path, capsys) -> None:
    assert run(main, ["--scores", str(tmp_path / "none")]) == 1
    assert "no scores of the noisy test set" in capsys.readouterr().err
