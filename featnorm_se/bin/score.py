"""Score enhanced speech against clean speech."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from featnorm_se.bin import Parser, count, run
from featnorm_se.data.parallel import count_cores
from featnorm_se.errors import FeatnormError, say
from featnorm_se.metrics.names import DEFAULT_METRICS, METRICS


def get_parser() -> argparse.ArgumentParser:
    """Return the command line of ``featnorm_se.bin.score``."""
    parser = Parser(
        prog="featnorm-se score",
        description="Score enhanced speech against clean speech: scores.csv (a row an"
        " utterance) and summary.json. Rates above 16 kHz are resampled to it, as the recipes do;"
        " else signals are taken as they are: no level change, no trimming, no alignment. When the"
        " lengths differ by up to 160 samples, the longer file's end is left out (summary.json"
        " says where); more is a failure.",
    )
    add = parser.add_argument
    add("--ref", required=True, nargs="+", help="clean speech: a folder or scp file, one a talker")
    add(
        "--inf",
        required=True,
        nargs="+",
        help="speech to score: a folder or a Kaldi scp file, one a talker in any order; the clean"
        " names, or all with one suffix (u1_enhanced.wav); what enhance --save_noise has put beside"
        " is left out",
    )
    add("--output", type=Path, required=True, help="folder for the results")
    add(
        "--metrics",
        nargs="+",
        default=list(DEFAULT_METRICS),
        metavar="NAME",
        help=f"of {' '.join(METRICS)}; DNSMOS stands for its four",
    )
    add("--mix", help="the unprocessed input, a folder or an scp file: SI_SDRi is the gain over it")
    add("--nj", type=count, default=count_cores(), help="processes, one thread each")
    add(
        "--allow_failures",
        type=int,
        default=0,
        help="so many utterances may have no score; more, and the exit status is 1",
    )
    add("--utt2cond", help="file of '<utt> <noise> <snr>' lines, for tables by SNR and noise")
    return parser


def main(argv: Sequence[str]) -> None:
    """Score, print the tables, and fail when too many utterances have no score."""
    args = get_parser().parse_args(argv)
    from featnorm_se.files import locked
    from featnorm_se.metrics.scoring import score_set
    from featnorm_se.metrics.summary import format_summary

    # Runs that share the noisy scores ask for them at once: the others wait and find them done.
    with locked(args.output / "score", wait=True, named=args.output):
        how = (args.metrics, args.nj, args.utt2cond, args.mix)
        summary = score_set(args.ref, args.inf, args.output, *how)
    print(format_summary(summary))
    for name, samples in summary["cut_to_shorter"].items():
        print(f"{name}: {samples} samples of the longer file's end were left out")
    if resampled := summary.get("resampled"):
        rate, count = resampled["from"], resampled["utterances"]
        print(f"{count} utterances resampled to 16 kHz from {rate} Hz")
    if rule := summary.get("names_matched_by"):
        print(f"the names to score were matched with the clean ones by {rule!r}")
    failures = summary["failures"]
    for failure in failures:
        say(f"not scored: {failure['utt_id']}: {failure['reason']}", sys.stdout)
    if failures and len(failures) > args.allow_failures:
        mend = f"allow it with --allow_failures {len(failures)}"
        if all("needs 16000 Hz, not 8000 Hz" in failure["reason"] for failure in failures):
            mend = "choose scores for 8 kHz, --metrics PESQ_NB STOI say"
        fault = f"{len(failures)} of {summary['utterances']} utterances have no full score"
        first = f"the first {failures[0]['utt_id']} ({failures[0]['reason']})"
        raise FeatnormError(f"{fault}, {first}; see {args.output}/scores.csv, or {mend}")


if __name__ == "__main__":
    raise SystemExit(run(main))
