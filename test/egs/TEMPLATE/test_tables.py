"""The command of the tables: plan, one run, tables; what it refuses."""

from __future__ import annotations

import json
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


def test_a_plan_is_printed_and_written(rows: Path, capsys) -> None:
    plan = rows.parent / "plan.json"
    assert run(main, options(rows, "--seeds", "0 3", "--plan", str(plan))) == 0
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 4 and printed[0].startswith("1 of 4: ./run.sh --stage 2 ")
    tags = [job["tag"] for job in json.loads(plan.read_text())]
    assert tags[3] == "tera_tiny_scratch_utterance_auto_train_seed3"


def test_a_run_of_a_plan_becomes_run_sh(rows: Path, tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    assert run(main, options(rows, "--plan", str(plan))) == 0
    script = tmp_path / "run.sh"
    script.write_text('#!/bin/sh\nprintf "<%s>" "$@"\n')
    script.chmod(0o755)
    command = [sys.executable, tables.__file__, "--plan", str(plan), "--run", "2"]
    done = subprocess.run(
        [*command, "--", "--metrics", "PESQ_WB STOI", "--stage", "1"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    line = done.stdout.splitlines()[-1]
    assert line.startswith("<--metrics><PESQ_WB STOI><--stage><1><--stage><2><--stop_stage><4>")
    assert "<--norm><utterance>" in line and "<--upstream_ckpt><scratch>" in line
    assert "row 2 of 2: tera_tiny_scratch" in (tmp_path / "progress").read_text()


def test_the_three_files_are_written_when_nothing_was_run(rows: Path, capsys) -> None:
    output = rows.parent / "out"
    assert run(main, options(rows, "--output", str(output))) == 0
    assert sorted(p.name for p in output.iterdir()) == ["some.csv", "some.md", "some.tex"]
    assert "| none | tera_tiny | scratch | none |" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--table", "none"), "no such table: none; there are some"),
        (("--seeds", "1 x"), "whole numbers"),
        (("--plan", "/nowhere/plan.json", "--run", "1"), "has no run 1"),
        (("--upstream_suffix", "_huge"), "00_none.yaml: there is no upstream"),
    ],
)
def test_bad_options_are_refused_in_one_line(rows: Path, capsys, more, said) -> None:
    assert run(main, options(rows, *more)) == 1
    assert said in capsys.readouterr().err
