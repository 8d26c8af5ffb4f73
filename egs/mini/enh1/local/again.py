#!/usr/bin/env python3
"""Rows that were run again, held against the committed ones: do they fall where they should?"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from featnorm_se.bin import Parser, run


def get_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = Parser(
        prog="local/again.py",
        description="Tell of every row that both folders have where one more run is expected, and"
        " where those of --expdir fell.",
    )
    add = parser.add_argument
    add("--expdir", default="exp/grid", help="folder of the rows that were run again")
    add(
        "--against",
        default="exp/committed/grid",
        help="folder of those that say what is expected: local/results.py unpack makes it",
    )
    add("--test_set", default="test", help="the test set's name")
    add("--metrics", default="PESQ_WB STOI", help="which, separated by spaces")
    return parser


def main(argv: Sequence[str]) -> None:
    """Compare and print."""
    args = get_parser().parse_args(argv)
    from study.again import run_again, to_markdown

    from featnorm_se.metrics.names import resolve

    metrics = resolve(args.metrics.split())
    rows = run_again(Path(args.against), Path(args.expdir), metrics, args.test_set)
    print(to_markdown(rows), end="")


if __name__ == "__main__":
    raise SystemExit(run(main))
