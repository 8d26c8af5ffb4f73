"""Compare experiments utterance by utterance."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from featnorm_se.bin import Parser, run


def get_parser() -> argparse.ArgumentParser:
    """Return the command line of ``featnorm_se.bin.compare``."""
    parser = Parser(
        prog="featnorm-se compare",
        description="Compare the scores of each experiment with those of the first, utterance by"
        " utterance: mean difference with its 95 % bootstrap interval, wins, ties, losses, and"
        " a picture.",
    )
    add = parser.add_argument
    add("baseline", metavar="EXP_A", help="folder such as exp/noisy")
    add("others", metavar="EXP_B", nargs="+", help="folders to compare with it")
    add("--metric", default="PESQ_WB", help="the score to compare")
    add("--testset", help="the test set, when the experiments have several in common")
    add("--output", help="the picture (PNG) to write; nothing: compare.png in the first EXP_B")
    return parser


def main(argv: Sequence[str]) -> None:
    """Compare, print the table and draw the picture."""
    args = get_parser().parse_args(argv)
    from featnorm_se.metrics.summary import align
    from featnorm_se.report.figure import axis_label
    from featnorm_se.report.paired import compare_folders, comparison_table
    from featnorm_se.report.plots import write_differences

    comparisons = compare_folders(args.baseline, args.others, args.metric, args.testset)
    output = args.output or f"{args.others[0]}/compare.png"
    print(f"differences in {axis_label(args.metric)}")
    print(align(comparison_table(comparisons, args.metric)))
    write_differences(comparisons, args.metric, output)
    print(f"\nwritten: {output}")


if __name__ == "__main__":
    raise SystemExit(run(main))
