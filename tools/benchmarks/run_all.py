#!/usr/bin/env python3
"""Run the benchmarks and print one table of their ratios.

    python tools/benchmarks/run_all.py                   # all of them: an hour or more
    python tools/benchmarks/run_all.py startup scoring   # some
    python tools/benchmarks/run_all.py --quick           # small cases, to see that they run

Each is a script of this folder and runs in a process of its own, one after the other; see
``timing.py`` for what they have in common. On a busy machine the seconds say little.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from timing import COLUMNS, HEADER, RULE

HERE = Path(__file__).resolve().parent


def benchmarks() -> list[str]:
    """Return the names of all scripts here that take ``--quick``, as benchmarks do."""
    scripts = (path for path in HERE.glob("*.py") if path.stem != Path(__file__).stem)
    return sorted(path.stem for path in scripts if '"--quick"' in path.read_text("utf-8"))


def run_one(name: str, quick: bool) -> tuple[list[str], int]:
    """Run one script; show what it prints and return the rows of its table and its status."""
    command = [sys.executable, str(HERE / f"{name}.py"), *(["--quick"] if quick else [])]
    print(f"== {name}", flush=True)
    rows: list[str] = []
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    ours = False
    for line in process.stdout:
        print(line, end="", flush=True)
        row = line.strip()
        ours = row.startswith("|") and (ours or row == HEADER)
        if ours and row not in (HEADER, RULE):
            rows.append(row)
    return rows, process.wait()


def machine() -> str:
    """Return what the figures were measured on."""
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text(encoding="utf-8") if cpuinfo.is_file() else ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.M)
    name = found.group(1) if found else platform.machine()
    cores = len(os.sched_getaffinity(0))
    return f"{cores} cores of {name}, torch {version('torch')}, Python {platform.python_version()}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run them and print the table; the status is 1 when one of them failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(benchmarks())}")
    parser.add_argument("--quick", action="store_true", help="small cases, to see that they run")
    args = parser.parse_args(argv)
    names = args.names or benchmarks()
    unknown = sorted(set(names) - set(benchmarks()))
    if unknown:
        parser.error(f"no such benchmark: {' '.join(unknown)}; there are {' '.join(benchmarks())}")
    load = os.getloadavg()[0]
    results = {name: run_one(name, args.quick) for name in names}
    print(f"\n{machine()}; load {load:.1f} at the start, {os.getloadavg()[0]:.1f} at the end")
    print(f"| script {HEADER}\n|---{RULE}")
    for name, (rows, status) in results.items():
        for row in rows:
            print(f"| {name} {row}")
        if status:
            print(f"| {name} | failed with status {status} {'| ' * (len(COLUMNS) - 1)}|")
    return int(any(status for _, status in results.values()))


if __name__ == "__main__":
    raise SystemExit(main())
