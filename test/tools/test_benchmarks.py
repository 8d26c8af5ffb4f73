"""The benchmarks run, and their ratios come into one table."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "tools" / "benchmarks"


def run_all(*args):
    """Run ``run_all.py``, with one thread a process."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command = [sys.executable, str(BENCHMARKS / "run_all.py"), *args]
    return subprocess.run(command, capture_output=True, text=True, env=env)


def test_a_benchmark_and_its_table():
    done = run_all("startup", "--quick")
    assert done.returncode == 0, done.stderr[-2000:]
    told = done.stdout[done.stdout.rindex("| script |") :].splitlines()
    assert told[0].startswith("| script | what | ratio |")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in told[2:]]
    assert {row[0] for row in rows} == {"startup"}
    assert all(len(row) == 6 and float(row[2].split()[0]) > 0 for row in rows)
    helps = next(row for row in rows if "collect_stats --help" in row[1])
    # A command that imported torch to print its options would be no faster than importing it.
    assert float(helps[3]) > 2


def test_an_unknown_benchmark_is_refused():
    done = run_all("start_up")
    assert done.returncode == 2 and "no such benchmark: start_up" in done.stderr


@pytest.fixture
def timing(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import timing

    yield timing
    del sys.modules["timing"]


def test_a_ratio_is_the_median_of_the_repetitions(timing, capsys):
    ours = [timing.Cost(1.0, 1.0, 10.0), timing.Cost(2.0, 1.0, 10.0), timing.Cost(1.0, 1.0, 10.0)]
    peer = [timing.Cost(4.0, 2.0, 30.0)] * 3
    timing.print_table({"ours": ours, "peer": peer}, {"peer / ours": ("peer", "ours")})
    row = capsys.readouterr().out.splitlines()[-1]
    assert row == "| peer / ours | 4.00 (2.00 to 4.00) | 2.00 (2.00 to 2.00) | 4 / 1 | 30 / 10 |"


def test_what_is_not_known_is_left_out(timing, capsys):
    timing.print_ratios({"a": [1.0], "b": [2.0]}, {"a / b": ("a", "b")})
    assert capsys.readouterr().out.splitlines()[-1] == "| a / b | 0.50 | - | 1 / 2 | - |"


def test_a_command_that_fails_ends_the_benchmark(timing):
    with pytest.raises(SystemExit, match="no good"):
        timing.command_cost([sys.executable, "-c", "raise SystemExit('no good')"])
    held = bytearray(300_000_000)  # by this process, which is no part of the command's peak
    cost = timing.command_cost([sys.executable, "-c", "x = bytearray(50_000_000)"])
    assert len(held)
    assert cost.cpu < 5 and 50 < cost.peak_mib < 200


def test_a_failing_script_fails_the_run(tmp_path):
    """The others still run, and the table says which failed."""
    for name in ("run_all", "timing"):
        (tmp_path / f"{name}.py").write_text((BENCHMARKS / f"{name}.py").read_text())
    (tmp_path / "bad.py").write_text('"--quick"\nraise SystemExit(3)\n')
    table = "timing.print_table({'a': [timing.Cost(1)]}, {'a / a': ('a', 'a')})"
    (tmp_path / "good.py").write_text(
        f"""'"--quick"'\nimport timing\nprint('| aside |')\n{table}\n"""
    )
    command = [sys.executable, str(tmp_path / "run_all.py")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout.splitlines()[-2].startswith("| bad | failed with status 3 |")
    assert done.stdout.splitlines()[-1] == "| good | a / a | 1.00 | - | 1 / 1 | - |"
