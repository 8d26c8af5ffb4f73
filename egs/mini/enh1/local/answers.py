#!/usr/bin/env python3
"""What the grid says: comparisons, gains by condition, curves and drift, as tables and plots."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from featnorm_se.bin import Parser, run
from featnorm_se.errors import FeatnormError


def get_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = Parser(
        prog="local/answers.py",
        description="Write comparisons.{md,csv,png}, conditions.{csv,png}, curves.{csv,png} and"
        " drift.{csv,png} of the runs that are there; the others are named, never guessed.",
    )
    add = parser.add_argument
    add("--expdir", default="exp/grid", help="folder of experiments")
    add("--log_testset", required=True, help="'<utt> <noise> <snr>' lines of the test set")
    add("--output", default="answers", help="folder to write to")
    add("--comparisons", default="conf/comparisons.yaml", help="what is compared with what")
    add("--seeds", default="0 1 2 3 4", help="seeds wanted, separated by spaces")
    add("--audio", default="data/grid/test/wav.scp", help="test set, for lengths: folder or scp")
    add("--test_set", default="test", help="the test set's name")
    meaning = "rows whose difference is looked at by condition; may be repeated; none: utterance at"
    meaning += " three sites minus none"
    add("--gain", nargs=2, action="append", metavar=("A", "B"), help=meaning)
    return parser


def main(argv: Sequence[str]) -> None:
    """Read the runs, write the tables and draw the plots."""
    args = get_parser().parse_args(argv)
    from study import answer_plots, answers, by_row

    from featnorm_se.files import write_text

    if not args.seeds.split() or not all(seed.isdecimal() for seed in args.seeds.split()):
        raise FeatnormError(f"--seeds is {args.seeds!r}: whole numbers, separated by spaces")
    seeds = [int(seed) for seed in args.seeds.split()]
    expdir, output = Path(args.expdir), Path(args.output)
    if not expdir.is_dir():
        raise FeatnormError(f"no experiments folder {expdir}: run grid.sh, or give --expdir")
    pairs = args.gain or default_pairs()
    questions = answers.read_questions(Path(args.comparisons))
    tags = [tag for question in questions for _, tag in question.weights]
    runs = answers.read_runs(
        expdir, [*tags, *(tag for pair in pairs for tag in pair)], seeds, args.test_set
    )
    rows = by_row.rows_of(expdir, seeds)
    drifts = by_row.mean_drift(rows)
    found = [answers.reply(question, runs, drifts) for question in questions]
    # Rows that were not run are named below the tables.
    found = [answer for answer in found if answer.seeds] or found
    missing = answers.tell_missing(runs, seeds)
    write_text(output / "comparisons.md", answers.to_markdown(found, missing))
    write_text(output / "comparisons.csv", answers.to_csv(found))
    answer_plots.plot_answers(found, output / "comparisons.png")
    write_conditions(args, runs, pairs, output)

    for name, points, place, value in (
        ("curves", by_row.validation_losses(rows), "epoch", "validation loss"),
        ("drift", by_row.layer_drift(rows), "layer", "CKA"),
    ):
        write_text(
            output / f"{name}.csv", by_row.to_csv(points, place, value.lower().replace(" ", "_"))
        )
        answer_plots.plot_points(points, output / f"{name}.png", place, value)
    print(answers.to_markdown(found, missing))
    print(f"written: {output}/{{comparisons,conditions,curves,drift}}.*")


def default_pairs() -> list[tuple[str, str]]:
    """Return feature normalization at three sites of the pre-trained tera_raw, minus none."""
    row = "tera_raw_pretrained_{}_mini_grid"
    sites = ("auto", "layer.1", "last")
    return [(row.format(f"utterance_{site}"), row.format("none")) for site in sites]


def write_conditions(
    args: argparse.Namespace, runs: dict[str, Any], pairs: Sequence[Sequence[str]], output: Path
) -> None:
    """Write and draw the gain of each pair by SNR, noise and length."""
    import soundfile
    from estimate import DELTAS
    from study import answer_plots, conditions

    from featnorm_se.data.corpus import read_listing
    from featnorm_se.data.datadir import read_log
    from featnorm_se.files import write_text
    from featnorm_se.report.paired import contrast

    known = read_log(Path(args.log_testset))
    lengths = {
        name: soundfile.info(path).duration for name, path in read_listing(args.audio).items()
    }
    found: list[conditions.Gain] = []
    for a, b in pairs:
        for metric in DELTAS:
            try:
                difference = contrast([(1.0, runs[a]), (-1.0, runs[b])], metric)
            except FeatnormError as error:
                print(f"conditions: {a} minus {b}, {metric}: {error}")
                continue
            found += conditions.gains(f"{a} - {b}", metric, difference, known, lengths)
    write_text(output / "conditions.csv", conditions.to_csv(found))
    answer_plots.plot_gains(found, output / "conditions.png")


if __name__ == "__main__":
    raise SystemExit(run(main))
