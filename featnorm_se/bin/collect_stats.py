"""Stage 2: collect an upstream's feature statistics over a corpus."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from featnorm_se.bin import Parser, add_upstream_options, count, run
from featnorm_se.data.parallel import set_threads
from featnorm_se.errors import FeatnormError


def get_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = Parser(
        "featnorm-se stats",
        "Run an upstream over a corpus, as far as the last site asked for, and save mean and"
        " deviation of every channel. Shards are collected apart and merged: --shard K/N writes"
        " one, --merge puts them together, --nj N does all of it.",
    )
    add = parser.add_argument
    add("--output", type=Path, required=True, help="the .npz file to write")
    add("--wav_scp", type=Path, nargs="+", help="the utterances, Kaldi scps of 16 kHz audio")
    add_upstream_options(parser)
    add("--kind", default="clean", choices=("clean", "noisy"), help="of speech")
    add("--nj", type=count, default=1, help="processes")
    add("--shard", type=parse_shard, help="K/N: only every N-th utterance from the K-th on")
    add("--merge", nargs="+", type=Path, help="shards to merge; nothing is collected")
    add("--device", default="cpu", choices=("cpu", "cuda"), help="cpu or cuda")
    return parser


def main(argv: Sequence[str]) -> None:
    """Parse, collect or merge, write."""
    args = get_parser().parse_args(argv)
    if not (args.merge or args.wav_scp):
        raise FeatnormError("give --wav_scp (to collect) or --merge (to merge)")
    if args.shard and args.nj > 1:
        raise FeatnormError(f"--shard is one process's share: leave --nj {args.nj} out")
    shards = [args.shard] if args.shard else [(k, args.nj) for k in range(1, args.nj + 1)]
    set_threads(shards[0][1])
    from featnorm_se.collection import collect_shards, merge_shards

    if args.merge:
        merge_shards(args.merge, args.output)
        return
    source = {"name": args.upstream, "checkpoint": args.upstream_ckpt}
    source |= {"conf_dir": args.upstream_conf_dir, "seed": args.seed}
    collect_shards(
        output=args.output,
        wav_scp=args.wav_scp,
        source=source,
        norm_site=args.norm_site,
        kind=args.kind,
        shards=shards,
        device=args.device,
    )


def parse_shard(text: str) -> tuple[int, int]:
    """Return (K, N) of ``K/N``, 1 <= K <= N.

    Raises:
        FeatnormError: it is nothing of that form.
    """
    first, _, last = text.partition("/")
    if not (first.isdigit() and last.isdigit() and 1 <= int(first) <= int(last)):
        raise FeatnormError(f"--shard is {text!r}, K/N with 1 <= K <= N is wanted")
    return int(first), int(last)


if __name__ == "__main__":
    raise SystemExit(run(main))
