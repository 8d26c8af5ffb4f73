"""Print what an upstream offers (sites, sizes, parameters, licence) or statistics hold."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from featnorm_se.bin import Parser, add_upstream_options, run
from featnorm_se.errors import FeatnormError
from featnorm_se.names import DEFAULT_NORM, check_norm, check_sites


def get_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = Parser("python -m featnorm_se.bin.info", __doc__)
    parser.add_argument("--stats", help="print this statistics file of stage 2, no upstream")
    add_upstream_options(parser)
    parser.add_argument(
        "--freeze", default="none", choices=["none", "cnn", "all"], help="as trained"
    )
    parser.add_argument("--norm", default=DEFAULT_NORM, help="for --check: kind of normalization")
    parser.add_argument(
        "--check", action="store_true", help="only check a run's options; no model is loaded"
    )
    return parser


def main(argv: Sequence[str]) -> None:
    """Print the contract of one upstream, or one statistics file."""
    args = get_parser().parse_args(argv)
    if args.stats:
        from featnorm_se.statistics import FeatureStats

        print(FeatureStats.load(args.stats).describe())
        return
    from featnorm_se.upstream.registry import upstream_card

    conf_dir = Path(args.upstream_conf_dir) if args.upstream_conf_dir else None
    card = upstream_card(args.upstream, conf_dir)
    if args.check:
        checkpoint = args.upstream_ckpt or "scratch"
        check_norm(args.norm)
        check_sites(args.norm_site, int(card["layers"]))
        if checkpoint != "scratch" and "://" not in checkpoint and not Path(checkpoint).is_file():
            raise FeatnormError(
                f"--upstream_ckpt {checkpoint}: there is no such file; a path, a URL, 'scratch'"
                " or nothing (the official checkpoint) is wanted"
            )
        return
    from featnorm_se.upstream import load_upstream
    from featnorm_se.upstream.registry import describe

    upstream = load_upstream(args.upstream, args.upstream_ckpt, seed=args.seed, conf_dir=conf_dir)
    upstream.configure(freeze=args.freeze)
    print(describe(upstream, card))


if __name__ == "__main__":
    raise SystemExit(run(main))
