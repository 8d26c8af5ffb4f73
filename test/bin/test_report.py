from __future__ import annotations

import json
from pathlib import Path

import pytest

from featnorm_se.bin import run
from featnorm_se.bin.report import main


def test_it_writes_and_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "exp/noisy/scores_test"
    folder.mkdir(parents=True)
    metrics = {"PESQ_WB": {"mean": 1.97251, "std": 0.7, "ci95": [1.9, 2.0], "count": 824}}
    (folder / "summary.json").write_text(json.dumps({"utterances": 824, "metrics": metrics}))
    output = tmp_path / "RESULTS.md"
    argv = ["--expdir", str(tmp_path / "exp"), "--output", str(output), "--title", "T"]
    assert run(main, argv) == 0
    assert "| noisy |  |  |  |  | 1.973 |" in output.read_text()
    printed = capsys.readouterr().out
    assert "1.973" in printed and str(output) in printed
