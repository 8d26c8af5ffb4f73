#!/usr/bin/env python3
"""Stage 5: how far noisy features are from clean ones, and what fine-tuning changed in them."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from featnorm_se.bin import Parser, count, run


def get_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = Parser(
        prog="local/drift.py",
        description="Write distance.csv, drift.csv and plots to EXPDIR/features.",
    )
    add = parser.add_argument
    add("--expdir", required=True, help="the experiment's folder")
    add("--datadir", required=True, help="the pairs to measure on, such as data/valid")
    add("--utterances", type=count, default=30, help="how many utterances are used")
    return parser


def main(argv: Sequence[str]) -> None:
    """Measure, write and draw."""
    args = get_parser().parse_args(argv)
    from feature_look import look_at_features, write_rows
    from feature_plots import plot_distance, plot_frames

    from featnorm_se.report.experiments import drift_file
    from featnorm_se.training.record import read_record

    expdir = Path(args.expdir)
    output = drift_file(expdir).parent
    record = read_record(expdir)
    look = look_at_features(expdir, record, Path(args.datadir), utterances=args.utterances)
    write_rows(output / "distance.csv", look.distance)
    write_rows(drift_file(expdir), look.drift)
    normed = str(record.get("norm_site") or "").split(",")
    sites = [site for site in look.frames if site in normed] or [next(iter(look.frames))]
    plot_distance(look, output / "distance.png", expdir.name)
    plot_frames(look, output / "frames.png", expdir.name, sites)
    print(f"written: {output}/{{distance,drift}}.csv and {{distance,frames}}.png")


if __name__ == "__main__":
    raise SystemExit(run(main))
