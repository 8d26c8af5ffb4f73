"""Compare experiments utterance by utterance."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from featnorm_se.bin import Parser, run


def get_parser() -> argparse.ArgumentParser:
    """Return the command line of ``featnorm_se.bin.compare``."""
    parser = Parser(
        prog="python -m featnorm_se.bin.compare",
        description="Compare the scores of each experiment with those of the first, utterance by"
        " utterance: mean difference with its 95 % bootstrap interval, wins, ties, losses, and"
        " a picture.",
    )
    parser.add_argument("baseline", metavar="EXP_A", help="folder such as exp/noisy")
    parser.add_argument("others", metavar="EXP_B", nargs="+", help="folders to compare with it")
    parser.add_argument("--metric", default="PESQ_WB", help="the score to compare")
    parser.add_argument(
        "--testset", help="the test set, when the experiments have several in common"
    )
    parser.add_argument("--output", default="compare.png", help="the picture (PNG) to write")
    return parser


def main(argv: Sequence[str]) -> None:
    """Compare, print the table and draw the picture.

    Raises:
        FeatnormError: a folder has no such scores, or the sets have nothing in common.
    """
    args = get_parser().parse_args(argv)
    from featnorm_se.metrics.summary import align
    from featnorm_se.report.comparing import compare_folders, comparison_table, draw

    comparisons = compare_folders(args.baseline, args.others, args.metric, args.testset)
    print(align(comparison_table(comparisons, args.metric)))
    draw(comparisons, args.metric, args.output)
    print(f"\nwritten: {args.output}")


if __name__ == "__main__":
    raise SystemExit(run(main))
