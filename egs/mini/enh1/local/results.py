#!/usr/bin/env python3
"""The committed runs of results/ as folders of experiments, and back."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from featnorm_se.bin import Parser, run


def get_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = Parser(
        prog="local/results.py",
        description="unpack: results/*.xz to EXPDIR/<set>/<run>, where runs that are there stay as"
        " they are; pack: the runs of EXPDIR/<set> to results/*.xz.",
    )
    add = parser.add_argument
    add("action", choices=("unpack", "pack"), help="what to do")
    add("--results", default="results", help="folder of the two compressed files")
    add("--expdir", default="exp/committed", help="folder of the sets' folders")
    add("--sets", default="grid h100 xeon compressed float32", help="which, separated by spaces")
    return parser


def main(argv: Sequence[str]) -> None:
    """Pack or unpack, and say how many runs."""
    args = get_parser().parse_args(argv)
    from study.results import pack, unpack

    results, expdir, sets = Path(args.results), Path(args.expdir), args.sets.split()
    if args.action == "pack":
        print(f"{results}: {pack(expdir, sets, results)} runs")
    else:
        print(f"{expdir}: {len(unpack(results, expdir, sets))} runs unpacked")


if __name__ == "__main__":
    raise SystemExit(run(main))
