"""Stage 4: enhance a test set with a trained model."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from featnorm_se.bin import run


def get_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = argparse.ArgumentParser(
        prog="python -m featnorm_se.bin.enhance_set",
        description="Enhance the utterances of a Kaldi scp. Shards run apart (--shard K/N) and"
        " --list writes spk1.scp when all are there.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--model", required=True, help="folder of the experiment")
    parser.add_argument("--wav_scp", required=True, help="noisy utterances, 16 kHz mono")
    parser.add_argument("--output", required=True, help="folder to write wav/ and spk1.scp to")
    parser.add_argument("--model_file", help="weights in the folder; nothing: the best")
    parser.add_argument("--shard", default="1/1", help="K/N: every N-th utterance from the K-th")
    parser.add_argument("--list", action="store_true", help="only write spk1.scp")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    return parser


def main(argv: Sequence[str]) -> None:
    """Parse and enhance."""
    args = get_parser().parse_args(argv)
    from featnorm_se.bin.collect_stats import parse_shard

    shard = parse_shard(args.shard)
    from featnorm_se.data.scp import read_scp
    from featnorm_se.enhancement.inference import enhance_set, list_enhanced

    output = Path(args.output)
    if args.list:
        list_enhanced(read_scp(args.wav_scp), output)
        return
    enhance_set(
        Path(args.model),
        Path(args.wav_scp),
        output,
        shard=shard,
        device=args.device,
        model_file=args.model_file or None,
    )


if __name__ == "__main__":
    raise SystemExit(run(main))
