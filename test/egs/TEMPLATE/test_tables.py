"""The command of the tables: plan, one run, tables."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import tables
from tables import main

from featnorm_se.bin import run

ROW = "upstream: tera_tiny\nweights: scratch\nnorm: {norm}\n"


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    folder = tmp_path / "rows" / "some"
    folder.mkdir(parents=True)
    for number, norm in enumerate(("none", "utterance")):
        (folder / f"0{number}_{norm}.yaml").write_text(ROW.format(norm=norm))
    return folder.parent


def options(rows: Path, *more: str) -> list[str]:
    table = ["--rows", str(rows), "--table", "some", "--upstream_conf_dir", ""]
    return [*table, "--expdir", str(rows.parent / "exp"), *more]


def test_a_plan_is_printed_and_its_runs_become_run_sh(rows: Path, tmp_path: Path, capsys) -> None:
    plan = str(tmp_path / "plan.json")
    assert run(main, options(rows, "--seeds", "0 3", "--plan", plan)) == 0
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 4 and printed[0].startswith("1 of 4: ./run.sh --stage 2 ")
    script = tmp_path / "run.sh"
    script.write_text('#!/bin/sh\nprintf "<%s>" "$@"\n')
    script.chmod(0o755)
    command = [sys.executable, tables.__file__, "--plan", plan, "--run", "4", "--"]
    command += ["--metrics", "PESQ_WB STOI", "--stage", "1"]
    line = subprocess.check_output(command, cwd=tmp_path, text=True).splitlines()[-1]
    assert line.startswith("<--metrics><PESQ_WB STOI><--stage><1><--stage><2><--stop_stage><4>")
    assert "<--norm><utterance>" in line and "<--upstream_ckpt><scratch>" in line
    assert "<--tag><tera_tiny_scratch_utterance_auto_train_seed3>" in line
    assert "row 4 of 4: tera_tiny_scratch" in (tmp_path / "progress").read_text()


def test_the_three_files_are_written_when_nothing_was_run(rows: Path, capsys) -> None:
    output = rows.parent / "out"
    assert run(main, options(rows, "--output", str(output))) == 0
    assert sorted(p.name for p in output.iterdir()) == ["some.csv", "some.md", "some.tex"]
    assert "| none | tera_tiny | scratch | none |" in capsys.readouterr().out
