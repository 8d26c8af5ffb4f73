"""Before any stage: check that the upstream, the norm and the sites of a run exist."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from featnorm_se.bin import Parser, add_upstream_options, run
from featnorm_se.errors import FeatnormError
from featnorm_se.names import DEFAULT_NORM, check_norm, check_sites


def get_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = Parser(
        prog="python -m featnorm_se.bin.check",
        description="Check a run's options without loading a model.",
    )
    add_upstream_options(parser)
    parser.add_argument("--norm", default=DEFAULT_NORM, help="kind of feature normalization")
    return parser


def main(argv: Sequence[str]) -> None:
    """Parse and check."""
    args = get_parser().parse_args(argv)
    from featnorm_se.upstream import upstream_card

    conf_dir = Path(args.upstream_conf_dir) if args.upstream_conf_dir else None
    card = upstream_card(args.upstream, conf_dir)
    check_norm(args.norm)
    check_sites(args.norm_site, int(card["layers"]))
    checkpoint = args.upstream_ckpt or "scratch"
    local = checkpoint != "scratch" and "://" not in checkpoint
    if local and not Path(checkpoint).is_file():
        raise FeatnormError(
            f"--upstream_ckpt {checkpoint}: there is no such file; a path, a URL, 'scratch'"
            " or nothing (the official checkpoint) is wanted"
        )


if __name__ == "__main__":
    raise SystemExit(run(main))
