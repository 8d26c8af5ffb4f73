"""Before training: compare the noisy test set's scores with the published ones."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from featnorm_se.bin import Parser, run


def get_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = Parser(
        prog="python -m featnorm_se.bin.gate",
        description="Compare PESQ_WB and STOI of the noisy VoiceBank-DEMAND test set with the"
        " published values. Status 1 when they are off by more than 0.01: then whatever is trained"
        " could not be compared with anybody's.",
    )
    parser.add_argument("--scores", required=True, help="folder of its summary.json and scores.csv")
    return parser


def main(argv: Sequence[str]) -> None:
    """Compare and print."""
    args = get_parser().parse_args(argv)
    from featnorm_se.report.gate import check_noisy

    print(check_noisy(args.scores))


if __name__ == "__main__":
    raise SystemExit(run(main))
