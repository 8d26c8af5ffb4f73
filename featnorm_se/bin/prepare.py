"""Stage 1: from a corpus to Kaldi-style data directories."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from featnorm_se.bin import Parser, count, run
from featnorm_se.data.voicebank_demand import OFFICIAL_PAIRS, VALID_SPEAKERS
from featnorm_se.errors import FeatnormError


def get_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = Parser("featnorm-se prepare", __doc__)
    add = parser.add_argument
    add(
        "--corpus",
        default="voicebank_demand",
        choices=("voicebank_demand", "libri2mix", "mini", "folders", "kaldi"),
        help="voicebank_demand: its four folders or zip files; mini: folders of these names;"
        " folders: noisy and clean in each of train, valid and test; kaldi: data directories;"
        " libri2mix: train-100, dev and test, as in its wav16k/min",
    )
    add(
        "--db_root",
        type=Path,
        help="holds the four folders *_trainset_28spk_wav, *_testset_wav, or zip files of these"
        " names; of folders and kaldi: train, valid and test",
    )
    add("--output", type=Path, default="data", help="gets train, valid, test and prepare.json")
    add("--test_root", type=Path, help="holds noisy/ and clean/ to test on instead of the corpus's")
    add("--test_set", help="make only this test set, of --test_root: noisy/ and clean/, or wav.scp")
    official = " ".join(VALID_SPEAKERS)
    add("--valid_speakers", help=f"training speakers to validate with; default: {official}")
    mixes = ("both", "clean")
    add("--mix", default="both", choices=mixes, help="libri2mix: two talkers and noise, or without")
    add("--wav_dir", type=Path, help="of resampled files; else dump/wav16k beside the output")
    for name, text in (
        ("--allow_pipes", "kaldi: run the commands that an scp holds"),
        ("--skip_bad", "leave bad pairs out and go on"),
    ):
        add(name, default="false", choices=("true", "false"), help=text)
    add("--nj", type=count, default=2, help="processes")
    return parser


def main(argv: Sequence[str]) -> None:
    """Prepare the corpus and print the counts of its sets."""
    args = get_parser().parse_args(argv)
    from featnorm_se.data.corpus import SETS, find_folders, find_kaldi, find_test_set
    from featnorm_se.data.libri2mix import find_libri2mix
    from featnorm_se.data.prepare import prepare_sets
    from featnorm_se.data.voicebank_demand import find_voicebank_demand

    wav_dir = args.wav_dir or args.output.absolute().parent / "dump" / "wav16k"
    named = (args.valid_speakers or "").replace(",", " ").split()
    corpus, output = args.corpus, args.output
    option, root = ("test", args.test_root) if args.test_set else ("db", args.db_root)
    pipes = args.allow_pipes == "true"
    if root is None or not root.is_dir():
        raise FeatnormError(f"--{option}_root {root or '(not given)'}: there is no such folder")
    if args.test_root and not (args.test_set or corpus in ("voicebank_demand", "mini", "folders")):
        raise FeatnormError(f"--test_root is not for {corpus}: {root} has its test pairs")
    own_valid = (root / "valid").is_dir() and corpus == "folders"
    if args.valid_speakers and (own_valid or corpus in ("libri2mix", "kaldi")):
        raise FeatnormError(f"--valid_speakers is not for {corpus}: {root} has its own valid")
    if args.test_set:
        sets, output = find_test_set(args.test_set, root, pipes), output / args.test_set
    elif corpus == "libri2mix":
        sets = find_libri2mix(root, args.mix)
    elif corpus == "kaldi":
        if root.resolve() == output.resolve():
            raise FeatnormError(f"--db_root and the output are the same folder, {output}")
        sets = find_kaldi([root / name for name in SETS], pipes)
    elif corpus == "folders":
        sets = find_folders(root, named or VALID_SPEAKERS, args.test_root)
    else:
        unpacked = wav_dir.parent / "unpacked"
        sets = find_voicebank_demand(root, unpacked, args.test_root, named or VALID_SPEAKERS)
    record = prepare_sets(sets, output, wav_dir, args.nj, args.skip_bad == "true")
    for line in describe(record["counts"], corpus == "voicebank_demand" and not args.test_set):
        print(line)


def describe(counts: dict[str, Any], official: bool) -> list[str]:
    """Return the lines with the counts of the sets, and how much of the corpus they are."""
    lines = [
        f"{name}: {count['pairs']} pairs, {60 * count['hours']:.1f} minutes,"
        f" {len(count['speakers'])} speakers, {count['resampled_pairs']} pairs converted,"
        f" {count['with_condition']} with noise and SNR known"
        + (f", {count['cut_pairs']} cut to the shorter twin" if count["cut_pairs"] else "")
        + (f"; {count['left_out']} left out, as they are bad" if count["left_out"] else "")
        for name, count in counts.items()
    ]
    if official:
        training, whole = counts["train"]["pairs"] + counts["valid"]["pairs"], OFFICIAL_PAIRS
        lines.append(
            f"of the official corpus: {training:,} of {whole['training']:,} training pairs,"
            f" {counts['test']['pairs']:,} of {whole['test']:,} test pairs"
        )
    return lines


if __name__ == "__main__":
    raise SystemExit(run(main))
