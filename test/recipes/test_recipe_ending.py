"""run.sh when SIGTERM comes: it says so and starts nothing more."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

RECIPE = Path(__file__).parents[2] / "egs" / "mini" / "enh1"
# Stands in for Python: the first command of stage 1 takes a while, and each leaves its name.
PYTHON = """#!/usr/bin/env bash
echo "$1 $2" >> "{log}"
case "$1" in
    */make_mini.py) echo ready; sleep {seconds} ;;
esac
"""


@pytest.mark.parametrize("to_all", [True, False], ids=["group", "process"])
def test_sigterm_ends_the_recipe(tmp_path, to_all):
    log = tmp_path / "log"
    fake = tmp_path / "python"
    fake.write_text(PYTHON.format(log=log, seconds=60 if to_all else 2))
    fake.chmod(0o755)
    command = ["./run.sh", "--python", str(fake)]
    for name in ("expdir", "datadir", "dumpdir"):
        command += [f"--{name}", str(tmp_path / name)]
    process = subprocess.Popen(
        command,
        cwd=RECIPE,
        env={**os.environ, "FEATNORM_SE_PYTHON": str(fake)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout
    assert any(line == "ready\n" for line in process.stdout)
    (os.killpg if to_all else os.kill)(process.pid, signal.SIGTERM)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 143, told
    lines = [line for line in told.splitlines() if "error:" in line]
    assert lines == ["./run.sh: error: ended by SIGTERM: the same command again goes on"]
    assert log.read_text().splitlines()[-1].startswith("local/make_mini.py")  # and not .prepare
