"""Print what an upstream offers (sites, sizes, parameters, licence) or statistics hold."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from featnorm_se.bin import Parser, run


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    from featnorm_se.upstream.registry import upstream_names

    top = Parser(prog="python -m featnorm_se.bin.info", description=__doc__)
    what = top.add_mutually_exclusive_group(required=True)
    what.add_argument("--stats", type=Path, help="print this statistics file of stage 2")
    what.add_argument("--upstream", help="one of " + ", ".join(upstream_names()) + ", or a card's")
    top.add_argument(
        "--upstream_ckpt",
        help="scratch (random weights), a file or a URL (default: the official checkpoint)",
    )
    top.add_argument("--freeze", default="none", choices=["none", "cnn", "all"], help="as trained")
    top.add_argument("--seed", type=int, default=0, help="of random weights (default: 0)")
    top.add_argument("--conf_dir", type=Path, help="a recipe's folder of upstream cards")
    return top


def main(argv: Sequence[str]) -> None:
    """Print the contract of one upstream, or one statistics file."""
    args = parser().parse_args(argv)
    if args.stats:
        from featnorm_se.statistics import FeatureStats

        print(FeatureStats.load(args.stats).describe())
        return
    from featnorm_se.upstream.describe import describe

    print(describe(args.upstream, args.upstream_ckpt, args.freeze, args.seed, args.conf_dir))


if __name__ == "__main__":
    raise SystemExit(run(main))
