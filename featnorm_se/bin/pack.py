"""Make one file of a trained model."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from featnorm_se.bin import Parser, run


def get_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = Parser(
        prog="featnorm-se pack",
        description="Pack an experiment into one .zip: weights (safetensors), config.yaml, clean"
        " statistics, results and a model card (README.md). It gives the experiment's output to"
        " the bit, and loading it runs no code from it.",
    )
    parser.add_argument("experiment", help="the experiment's folder, exp/...")
    parser.add_argument("output", help="the .zip to write")
    parser.add_argument("--model_file", help="weights in the folder (default: the best)")
    return parser


def main(argv: Sequence[str]) -> None:
    """Pack, load the result once, and list what is in it."""
    args = get_parser().parse_args(argv)
    from featnorm_se.enhancement.pack import pack

    sizes = pack(Path(args.experiment), Path(args.output), args.model_file)
    for name, size in sizes.items():
        print(f"{size:>12,} bytes  {name}")
    if "clean_stats.npz" not in sizes:
        print("the clean statistics' file was not found; what the model needs is in its weights")
    print(f"written: {args.output}")


if __name__ == "__main__":
    raise SystemExit(run(main))
