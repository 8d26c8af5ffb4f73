"""Print what an upstream offers (sites, sizes, parameters, licence) or statistics hold."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from featnorm_se.bin import Parser, add_upstream_options, run


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    top = Parser(prog="python -m featnorm_se.bin.info", description=__doc__)
    top.add_argument("--stats", help="print this statistics file of stage 2, no upstream")
    add_upstream_options(top)
    top.add_argument("--freeze", default="none", choices=["none", "cnn", "all"], help="as trained")
    return top


def main(argv: Sequence[str]) -> None:
    """Print the contract of one upstream, or one statistics file."""
    args = parser().parse_args(argv)
    if args.stats:
        from featnorm_se.statistics import FeatureStats

        print(FeatureStats.load(args.stats).describe())
        return
    from featnorm_se.upstream import load_upstream, upstream_card
    from featnorm_se.upstream.registry import describe

    conf_dir = Path(args.upstream_conf_dir) if args.upstream_conf_dir else None
    upstream = load_upstream(args.upstream, args.upstream_ckpt, seed=args.seed, conf_dir=conf_dir)
    upstream.configure(freeze=args.freeze)
    print(describe(upstream, upstream_card(args.upstream, conf_dir)))


if __name__ == "__main__":
    raise SystemExit(run(main))
