#!/usr/bin/env python3
"""Start-up: every command's ``--help`` and ``import featnorm_se``, against importing torch."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

from timing import command_cost, costs_in_turn, print_table

BIN = Path(__file__).resolve().parents[2] / "featnorm_se" / "bin"
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def main() -> None:
    """Time and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="two commands, once")
    args = parser.parse_args()
    commands = sorted(path.stem for path in BIN.glob("[!_]*.py"))
    words = ["collect_stats", "main"] if args.quick else commands
    python = partial(command_cost, env=ONE_THREAD)
    runs = {
        "import torch": partial(python, [sys.executable, "-c", "import torch"]),
        "import featnorm_se": partial(python, [sys.executable, "-c", "import featnorm_se"]),
    }
    for word in words:
        command = [sys.executable, "-m", f"featnorm_se.bin.{word}", "--help"]
        runs[f"{word} --help"] = partial(python, command)
    repetitions = 1 if args.quick else args.repetitions
    costs = costs_in_turn(runs, repetitions, warm_up=not args.quick)
    pairs = {f"import torch / {name}": ("import torch", name) for name in list(runs)[1:]}
    print_table(costs, pairs)


if __name__ == "__main__":
    main()
