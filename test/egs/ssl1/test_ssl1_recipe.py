"""egs/mini/ssl1 and the grid's rows: real scripts, called wrongly and rightly."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from featnorm_se.report.rows import Setting, plan_runs, read_rows

MINI = Path(__file__).parents[3] / "egs" / "mini"


def run(*options: str) -> subprocess.CompletedProcess[str]:
    command = [str(MINI / "ssl1" / "run.sh"), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--foo", "1"], "unknown option --foo"),
        (["--steps", "x"], "argument --steps: invalid int value"),
        (["--seed", "x"], "--seed is 'x', a whole number is wanted"),
        (["--tag", "a/b"], "'a/b' cannot be the name of a folder"),
        (["--stage", "2"], "run stage 1 first, or give --speech_root"),
    ],
)
def test_what_cannot_run_says_so_in_one_line(options, message, tmp_path: Path) -> None:
    places = ["--expdir", str(tmp_path / "exp"), "--dumpdir", str(tmp_path / "dump")]
    speech = [] if "--stage" in options else ["--speech_root", str(tmp_path)]
    done = run(*places, *speech, *options)
    assert done.returncode != 0
    lines = [line for line in done.stderr.splitlines() if "error:" in line]
    assert len(lines) == 1 and message in lines[0], done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("table", ["upstreams", "sites", "norms", "drift"])
def test_the_grids_rows_can_be_planned(table: str, tmp_path: Path) -> None:
    enh = MINI / "enh1"
    setting = Setting(
        config="conf/mini_grid.yaml", conf_dir=str(enh / "conf" / "upstream"), ckpt_dir="/some"
    )
    rows = read_rows(enh / "conf" / "tables" / table, setting)
    baselines = [row.baseline for row in rows if row.baseline]
    assert baselines and len({row.name for row in rows}) == len(rows)
    plan = plan_runs(rows, [0, 1], tmp_path)
    tags = {job["tag"] for job in plan}
    assert len(plan) == len(tags) == 2 * len([row for row in rows if not row.is_noisy])
    # The control of every site: the same site without clean statistics.
    if table == "sites":
        sites = {
            norm: {r.norm_site for r in rows if r.norm == norm}
            for norm in ("utterance", "instance")
        }
        assert sites["utterance"] == sites["instance"] and len(sites["utterance"]) == 4
