"""Stage 1: from a corpus in VoiceBank-DEMAND's folders to Kaldi-style data directories."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from featnorm_se.bin import run


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of this command."""
    parser = argparse.ArgumentParser(
        prog="python -m featnorm_se.bin.prepare",
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--db_root",
        required=True,
        help="holds the four folders *_trainset_28spk_wav, *_testset_wav",
    )
    add("--output", default="data", help="gets train, valid, test and prepare.json")
    add("--test_root", help="folder with noisy/ and clean/ to test on instead of the corpus's own")
    add("--valid_speakers", default="p226 p287", help="training speakers to validate with")
    add("--wav_dir", help="where resampled files go; by default dump/wav16k beside the output")
    add("--sample_rate", type=int, default=16000, help="of all files, in Hz")
    add("--nj", type=int, default=2, help="processes")
    return parser


def main(argv: Sequence[str]) -> None:
    """Prepare the corpus and print the counts of its sets."""
    arguments = build_parser().parse_args(argv)
    from featnorm_se.data.prepare import prepare_voicebank_demand

    record = prepare_voicebank_demand(
        arguments.db_root,
        arguments.output,
        test_root=arguments.test_root or None,
        valid_speakers=arguments.valid_speakers.replace(",", " ").split(),
        wav_dir=arguments.wav_dir or None,
        sample_rate=arguments.sample_rate,
        nj=arguments.nj,
    )
    for name, count in record["counts"].items():
        print(
            f"{name}: {count['pairs']} pairs, {60 * count['hours']:.1f} minutes,"
            f" {len(count['speakers'])} speakers, {count['resampled_pairs']} pairs resampled,"
            f" {count['with_condition']} with noise and SNR known"
        )


if __name__ == "__main__":
    raise SystemExit(run(main))
