"""Make one file of a trained model."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from featnorm_se.bin import Parser, run


def get_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = Parser(
        prog="featnorm-se pack",
        description="Pack an experiment into one .zip: weights (safetensors), config.yaml,"
        " results and a model card (README.md). It gives the experiment's output to"
        " the bit (but for --half), and loading it runs no code from it.",
    )
    parser.add_argument("experiment", type=Path, help="the experiment's folder, exp/...")
    parser.add_argument("output", type=Path, help="the .zip to write")
    parser.add_argument("--model_file", help="weights in the folder, if not the best")
    parser.add_argument(
        "--half",
        action="store_true",
        help="keep the matrices as float16: half the bytes, 11 bits; computed in float32",
    )
    parser.add_argument(
        "--notes",
        type=Path,
        metavar="FILE.md",
        help="text for the model card: training commands, the data and their licences",
    )
    parser.add_argument("--licence", help="of these weights, for the card, e.g. cc-by-4.0")
    return parser


def main(argv: Sequence[str]) -> None:
    """Pack, and list what is in the result."""
    args = get_parser().parse_args(argv)
    from featnorm_se.report.pack import pack

    for name, size in pack(**vars(args)).items():
        print(f"{size:>12,} bytes  {name}")
    print(f"written: {args.output}")


if __name__ == "__main__":
    raise SystemExit(run(main))
