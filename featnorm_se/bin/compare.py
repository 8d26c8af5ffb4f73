"""Compare experiments utterance by utterance."""

import argparse
from collections.abc import Sequence

from featnorm_se.bin import Parser, run


def get_parser() -> argparse.ArgumentParser:
    """Return the command line of ``featnorm_se.bin.compare``."""
    parser = Parser(
        prog="featnorm-se compare",
        description="Compare the scores of each experiment with those of the first, utterance by"
        " utterance: mean difference with its 95 % interval (bootstrap, widened as Student's t),"
        " wins, ties and losses.",
    )
    add = parser.add_argument
    add("baseline", metavar="EXP_A", help="folder such as exp/noisy")
    add("others", metavar="EXP_B", nargs="+", help="folders to compare with it")
    add("--metrics", nargs="+", default=["PESQ_WB"], help="the scores to compare, a table each")
    add("--test_set", default="test", help="the test set that all were scored on")
    return parser


def main(argv: Sequence[str]) -> None:
    """Compare and print the table."""
    args = get_parser().parse_args(argv)
    from featnorm_se.metrics.summary import align
    from featnorm_se.report.figure import axis_label
    from featnorm_se.report.paired import compare_folders, comparison_table

    found = compare_folders(args.baseline, args.others, args.metrics, args.test_set)
    for metric, comparisons in found.items():
        print(f"differences in {axis_label(metric)}")
        print(align(comparison_table(comparisons, metric)))


if __name__ == "__main__":
    raise SystemExit(run(main))
