"""The benchmarks run."""

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "tools" / "benchmarks"


@pytest.mark.slow
def test_what_fills_the_table_of_a_gpu_runs_on_a_processor():
    """One of its four parts: the others are minutes here, and calls of fine_tune and jobs."""
    command = [sys.executable, str(BENCHMARKS / "gpu.py"), "--quick", "--part", "statistics"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and "| what | ratio |" in done.stdout, done.stderr
