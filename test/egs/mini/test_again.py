"""Rows run again: inside or outside of where the first runs let them be expected."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
from study.again import run_again, to_markdown

from featnorm_se.bin import run
from featnorm_se.errors import FeatnormError

ROOT = Path(__file__).parents[3]


def runs(folder: Path, row: str, gains: list[float]) -> None:
    for seed, gain in enumerate(gains):
        scores = folder / f"{row}_seed{seed}" / "scores_test"
        scores.mkdir(parents=True)
        summary = {"metrics": {"PESQ_WB": {"mean": 1.9 + gain}}}
        (scores / "summary.json").write_text(json.dumps(summary))


def test_one_run_falls_inside_and_one_outside(tmp_path: Path) -> None:
    runs(tmp_path / "first", "a", [0.10, 0.12, 0.14])
    runs(tmp_path / "first", "alone", [0.1])  # one seed lets nothing be expected
    runs(tmp_path / "first", "b", [0.3, 0.31])
    for row, gains in (("a", [0.11, 0.4]), ("alone", [0.1]), ("c", [0.2])):
        runs(tmp_path / "other", row, gains)
    (told,) = run_again(tmp_path / "first", tmp_path / "other", ["PESQ_WB"])
    assert (told.row, told.seeds, len(told.means), told.inside) == ("a", 3, 2, 1)
    # Student's t of two degrees of freedom, 4.303, times 0.02 sqrt(1 + 1/3).
    low, high = told.expected
    assert (high - low) / 2 == pytest.approx(4.3027 * 0.02 * (4 / 3) ** 0.5, rel=1e-3)
    assert (high + low) / 2 == pytest.approx(told.first.mean)
    assert "| 1 of 2 |" in to_markdown([told])
    assert "Inside: 1 of 2;" in to_markdown([told])


def test_nothing_in_common_is_said(tmp_path: Path) -> None:
    runs(tmp_path / "first", "a", [0.10, 0.12])
    runs(tmp_path / "other", "b", [0.1])
    with pytest.raises(FeatnormError, match="has no row of which"):
        run_again(tmp_path / "first", tmp_path / "other", ["PESQ_WB"])


def test_the_committed_runs_of_another_machine_fall_where_they_should(capsys) -> None:
    path = ROOT / "egs" / "mini" / "enh1" / "local" / "again.py"
    spec = importlib.util.spec_from_file_location("again_script", path)
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    results = ROOT / "egs" / "mini" / "enh1" / "results"
    words = ["--expdir", str(results / "h100"), "--against", str(results / "grid")]
    assert run(script.main, words) == 0
    assert "Inside: 57 of 60" in capsys.readouterr().out
