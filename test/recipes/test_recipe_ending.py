"""run.sh when SIGTERM or Ctrl-C comes: it waits for what it runs, says so, starts nothing more."""

import os
import signal
import subprocess

import pytest
from recipe_runs import EGS, places

# Stands in for Python: the first command of stage 1 takes a while, and each leaves its name.
PYTHON = """#!/usr/bin/env bash
echo "$1 $2" >> "{log}"
case "$1" in
    */make_mini.py)
        (trap '' INT TERM; echo ready; exec > /dev/null 2>&1; sleep 1; echo "saved" >> "{log}") &
        exec sleep {seconds}  # a signal between bash's fork and this would miss what is forked
        ;;
esac
"""


@pytest.mark.parametrize(
    ("number", "to_all"), [(signal.SIGTERM, True), (signal.SIGTERM, False), (signal.SIGINT, True)]
)
def test_a_signal_ends_the_recipe(tmp_path, number, to_all):
    log = tmp_path / "log"
    fake = tmp_path / "python"
    fake.write_text(PYTHON.format(log=log, seconds=60 if to_all else 2))
    fake.chmod(0o755)
    process = subprocess.Popen(
        ["./run.sh", "--python", str(fake), *places(tmp_path)],
        cwd=EGS / "mini" / "enh1",
        env={**os.environ, "FEATNORM_SE_PYTHON": str(fake)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # Tests that run in the background ignore SIGINT, and so would all that they start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout
    assert any(line == "ready\n" for line in process.stdout)
    (os.killpg if to_all else os.kill)(process.pid, number)
    assert process.wait(30) == 128 + number
    first, *rest = log.read_text().splitlines()  # the check of the options is before
    assert "check_config.py" in first
    assert rest[0].startswith("local/make_mini.py") and rest[1:] == ["saved"]  # and no .prepare
    how = "interrupted" if number == signal.SIGINT else "ended by SIGTERM"
    lines = [line for line in process.communicate()[1].splitlines() if "error:" in line]
    assert lines == [f"./run.sh: error: {how}: the same command again goes on"]
