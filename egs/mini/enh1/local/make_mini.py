#!/usr/bin/env python3
"""Stage 1 of egs/mini: make a corpus in the folders and names of VoiceBank-DEMAND."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from featnorm_se.bin import Parser, run


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of this command."""
    parser = Parser("local/make_mini.py", __doc__)
    add = parser.add_argument
    add("--output", required=True, help="the corpus's folder")
    add("--speech_root", help="folder of speech recordings; without it those in egs/mini/corpus")
    add("--noise_root", help="folder of noise recordings; without it those there")
    add(
        "--train_speakers",
        type=int,
        help="training speakers besides p226 and p287, up to 26, each name for several people",
    )
    add("--train_utts", type=int, help="clean training utterances; all")
    add("--valid_utts", type=int, help="validation utterances; all")
    add(
        "--test_utts",
        type=int,
        help="test utterances, mixed if both roots are given, else from egs/mini/corpus; 0: none",
    )
    add("--copies", type=int, default=1, help="noisy versions of each clean training utterance")
    add("--num_spk", type=int, default=1, help="2: two talkers at once, in Libri2Mix's folders")
    add("--seed", type=int, default=0, help="the source of all chance")
    add("--nj", type=int, default=2, help="processes; the result does not depend on it")
    return parser


def main(argv: Sequence[str]) -> None:
    """Make the corpus and print its counts."""
    arguments = vars(build_parser().parse_args(argv))
    from corpus.mini import MiniOptions, make_mini

    output, nj = arguments.pop("output"), arguments.pop("nj")
    options = MiniOptions(**arguments)
    counts = make_mini(output, options, nj)["counts"]
    for part in ("train", "valid", "test"):
        count = counts[part]
        people = sum(map(len, count["speakers"].values()))
        print(
            f"{part}: {count['pairs']} pairs of {count['clean']} clean utterances,"
            f" {count['minutes']:.1f} minutes, {people} speakers,"
            f" {len(count['noises'])} noises; {count['too_short']} files under 1 s left out"
        )
    names = sorted(set().union(*counts["train"]["speakers"].values()))[:3]
    told = f"as names and folders tell them ({', '.join(names)}, ...)"
    print(f"split by speaker, {told}: nobody is in two of the sets")
    if counts["silent"]:
        print(f"{counts['silent']} silent pieces left out")


if __name__ == "__main__":
    raise SystemExit(run(main))
