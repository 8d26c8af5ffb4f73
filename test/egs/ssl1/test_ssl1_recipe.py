"""egs/mini/ssl1 and the grid's rows: real scripts, called wrongly and rightly."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from rows import Setting, plan_runs, read_rows

MINI = Path(__file__).parents[3] / "egs" / "mini"


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--tag", "a/b", "'a/b' cannot be the name of a folder"),
        ("--stage", "3", "there is no stage 3: the stages are 1 to 2"),
    ],
)
def test_what_cannot_run_says_so_in_one_line(
    tmp_path: Path, option: str, value: str, told: str
) -> None:
    command = [MINI / "ssl1" / "run.sh", "--expdir", tmp_path / "exp", "--speech_root", tmp_path]
    done = subprocess.run([*command, option, value], capture_output=True, text=True, timeout=60)
    assert done.returncode != 0 and told in done.stderr
    assert done.stderr.count("error:") == 1 and "Traceback" not in done.stderr


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
        pairs = {(r.norm, r.norm_site) for r in rows if r.norm in ("utterance", "instance")}
        assert len({site for _, site in pairs}) == 4 and len(pairs) == 8
