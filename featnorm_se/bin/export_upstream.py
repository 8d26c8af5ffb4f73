"""Write the fine-tuned upstream of a trained model as a checkpoint of its own."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from featnorm_se.bin import Parser, run


def get_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = Parser(
        prog="featnorm-se export-upstream",
        description="Write a trained model's upstream in s3prl's layout, without FN: for s3prl,"
        " ESPnet and --upstream_ckpt; FN's clean statistics beside it (.npz), for --clean_stats.",
    )
    parser.add_argument("model", type=Path, help="the experiment's folder, or a packed .zip")
    parser.add_argument("output", type=Path, help="the .pt to write")
    parser.add_argument("--model_file", help="weights in the folder, if not the best")
    return parser


def main(argv: Sequence[str]) -> None:
    """Export, and say what was written."""
    args = get_parser().parse_args(argv)
    from featnorm_se.report.pack import export_upstream

    for path in export_upstream(args.model, args.output, args.model_file):
        print(f"written: {path}")


if __name__ == "__main__":
    raise SystemExit(run(main))
