"""The gate: what it lets pass, and what it stops."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from featnorm_se.bin import run
from featnorm_se.bin.gate import main

NAMES = [f"p232_{n:03d}" for n in range(393)] + [f"p257_{n:03d}" for n in range(431)]


def gate(folder: Path, pesq: float | None, stoi: float, names: list[str] = NAMES) -> int:
    folder.mkdir(exist_ok=True)
    metrics = {"PESQ_WB": {"mean": pesq}, "STOI": {"mean": stoi}}
    if pesq is None:
        del metrics["PESQ_WB"]
    (folder / "summary.json").write_text(json.dumps({"metrics": metrics}))
    with open(folder / "scores.csv", "w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["utt_id", "PESQ_WB"])
        writer.writerows([name, 2.0] for name in names)
    return run(main, ["--scores", str(folder)])


def test_the_measured_values_pass(tmp_path, capsys) -> None:
    assert gate(tmp_path, 1.972, 0.921) == 0
    assert gate(tmp_path, 1.968, 0.9205) == 0
    assert "as published" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("pesq", "stoi"), [(1.95, 0.921), (2.9, 0.921), (1.97, 0.9), (None, 0.921)]
)
def test_other_values_stop_and_name_the_causes(tmp_path, capsys, pesq, stoi) -> None:
    assert gate(tmp_path, pesq, stoi) == 1
    error = capsys.readouterr().err
    for said in ("resampler", "narrow-band", "--skip_gate true"):
        assert said in error


def test_a_part_of_the_corpus_goes_on_and_says_so(tmp_path, capsys) -> None:
    assert gate(tmp_path, 2.5, 0.9, NAMES[:24]) == 0
    assert "24 utterances of 1 speakers are not the official test set" in capsys.readouterr().out
    assert gate(tmp_path, 2.5, 0.9, [name.replace("p232", "p226") for name in NAMES]) == 0


def test_no_scores_is_told(tmp_path, capsys) -> None:
    assert run(main, ["--scores", str(tmp_path / "none")]) == 1
    assert "no scores of the noisy test set" in capsys.readouterr().err
