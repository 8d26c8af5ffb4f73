#!/usr/bin/env python3
"""How long an utterance must be for its own statistics to serve: scores by length of piece."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from featnorm_se.bin import Parser, run


def get_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = Parser(
        prog="local/lengths.py",
        description="Write lengths.csv and lengths.png: trained models on pieces of joined test"
        " utterances, with the statistics of each piece and of the whole signal.",
    )
    add = parser.add_argument
    add("--model", action="append", required=True, help="experiment's folder; may be repeated:"
        " those that differ in _seed<N> alone are one row")  # fmt: skip
    add("--clean_dir", required=True, help="clean test speech: folder or scp")
    add("--noisy_dir", required=True, help="noisy test speech: folder or scp")
    add("--log_testset", required=True, help="'<utt> <noise> <snr>' lines of the test set")
    add("--output", default="answers", help="folder to write to")
    add("--utterances", type=int, default=60, help="about how many")
    add("--pieces", default="0.5 1 2 4 8", help="lengths in s, parted by blanks; the utterances"
        " themselves and the joined signals are added")  # fmt: skip
    return parser


def main(argv: Sequence[str]) -> None:
    """Enhance, score, write and draw."""
    args = get_parser().parse_args(argv)
    import torch
    from estimate import DELTAS
    from study import length_text, lengths
    from study.by_row import split_seed

    from featnorm_se.data.corpus import read_listing
    from featnorm_se.data.datadir import read_log
    from featnorm_se.files import write_text
    from featnorm_se.inference.enhancer import Enhancer
    from featnorm_se.names import SAMPLE_RATE

    torch.set_num_threads(1)
    clean, noisy = read_listing(args.clean_dir), read_listing(args.noisy_dir)
    known = read_log(Path(args.log_testset))
    signals = lengths.join_utterances(clean, noisy, known, args.utterances)
    count = sum(len(joined.names) for joined in signals)
    seconds = sum(joined.edges[-1] for joined in signals) / SAMPLE_RATE
    print(f"{len(signals)} joined signals of {count} utterances, {seconds:.0f} s")
    rows: dict[str, dict[int, list[lengths.Outcome]]] = {}
    for number, model in enumerate(args.model):
        name = Path(model).resolve().name
        row, seed = split_seed(name) or (name, number)
        enhancer = Enhancer.from_pretrained(model)
        outcomes = rows.setdefault(row, {}).setdefault(seed, [])
        for outcome in lengths.measure(
            enhancer, signals, [*args.pieces.split(), "utterance", "joined"]
        ):
            outcomes.append(outcome)
            print(
                f"{name}: pieces {outcome.cut} ({outcome.seconds:.2f} s),"
                f" statistics of the {outcome.stats}"
            )
    entries = [e for row, runs in rows.items() for e in length_text.summarize(row, runs)]
    unchanged = [s for j in signals for s in lengths.score_utterances(j, j.noisy).values()]
    scored = {m: [s[m] for s in unchanged if m in s] for m in DELTAS}
    means = {m: sum(values) / len(values) for m, values in scored.items() if values}
    output = Path(args.output)
    write_text(output / "lengths.csv", length_text.to_csv(entries))
    length_text.plot_lengths(entries, means, output / "lengths.png")
    print(length_text.to_csv(entries), f"noisy: {means}", f"written: {output}/lengths.*", sep="\n")


if __name__ == "__main__":
    raise SystemExit(run(main))
