"""The benchmarks run, and their ratios come into one table."""

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "tools" / "benchmarks"


def test_the_others_still_run_and_the_table_says_which_failed(tmp_path):
    for name in ("run_all", "timing", "startup"):
        (tmp_path / f"{name}.py").write_text((BENCHMARKS / f"{name}.py").read_text())
    (tmp_path / "bad.py").write_text('"--quick"\nraise SystemExit(3)\n')
    command = [sys.executable, str(tmp_path / "run_all.py"), "bad", "startup", "--quick"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    told = done.stdout[done.stdout.rindex("| script |") :].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in told[2:]]
    assert rows[0][:2] == ["bad", "failed with status 3"]
    assert {row[0] for row in rows[1:]} == {"startup"}
    assert all(len(row) == 6 and float(row[2].split()[0]) > 0 for row in rows[1:])


@pytest.mark.slow
def test_what_fills_the_table_of_a_gpu_runs_on_a_processor():
    """One of its four parts: the others are minutes here, and calls of fine_tune and jobs."""
    command = [sys.executable, str(BENCHMARKS / "gpu.py"), "--quick", "--part", "statistics"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and "| what | ratio |" in done.stdout, done.stderr
