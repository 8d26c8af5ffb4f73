"""How processes and threads share the cores."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from featnorm_se.data import parallel


@pytest.mark.parametrize(
    ("users", "limit", "processes", "threads"),
    [(None, "", 1, "8"), (None, "", 3, "2"), (None, "", 99, "1"), (None, "4", 2, "2")]
    + [("6", "", 4, "6"), (None, "odd", 8, "1")],
)
def test_the_cores_are_shared_and_the_users_own_number_wins(
    monkeypatch, users, limit, processes, threads
):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setenv("OMP_THREAD_LIMIT", limit)
    monkeypatch.setenv("OMP_NUM_THREADS", users or "")
    if users is None:
        monkeypatch.delenv("OMP_NUM_THREADS")
    parallel.set_threads(processes)
    assert os.environ["OMP_NUM_THREADS"] == threads


# What a worker process is: its number, and the threads that torch has in it.
PROGRAM = """
import os
from featnorm_se.data.parallel import parallel_map, set_threads
def who(_):
    import torch
    return os.getpid(), torch.get_num_threads(), os.environ["OMP_WAIT_POLICY"]
def main(_):
    found = parallel_map(who, range(8), 8, "test")
    print(len({pid for pid, *_ in found}), *{row[1:] for row in found})
if __name__ == "__main__":
    from featnorm_se.bin import run
    raise SystemExit(run(main))
"""


@pytest.mark.parametrize(("users", "threads"), [(None, 1), ("2", 2)])
def test_workers_are_no_more_than_cores_and_wait_asleep(tmp_path, users, threads):
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "MKL_"))}
    environment |= {"OMP_NUM_THREADS": users} if users else {}
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, env=environment, check=True
    )
    workers, *rest = done.stdout.split(maxsplit=1)
    assert 1 <= int(workers) <= parallel.count_cores()
    assert rest == [f"({threads}, 'PASSIVE')\n"]
