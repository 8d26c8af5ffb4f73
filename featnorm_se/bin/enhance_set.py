"""Stage 4: enhance a test set with a trained model."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from featnorm_se.bin import Parser, run
from featnorm_se.errors import FeatnormError
from featnorm_se.inference.windows import Windowing

# The keys of conf/decode.yaml and what they are.
SETTINGS = {"model_file": str, "bf16": bool, "atten_lim": float}
WINDOWING = {"window": float, "overlap": float, "stats": str}


def get_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = Parser(
        prog="python -m featnorm_se.bin.enhance_set",
        description="Enhance the utterances of a Kaldi scp. Shards run apart (--shard K/N) and"
        " --list writes spk1.scp when all are there.",
    )
    keys = ", ".join((*SETTINGS, *WINDOWING))
    parser.add_argument("--model", required=True, help="folder of the experiment")
    parser.add_argument("--wav_scp", required=True, help="noisy utterances, 16 kHz mono")
    parser.add_argument("--output", required=True, help="folder to write wav/ and spk1.scp to")
    parser.add_argument("--config", help=f"YAML of settings: {keys}")
    parser.add_argument("--model_file", help="weights in the folder, if not those of --config")
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
    from featnorm_se.inference.enhance_set import enhance_set, list_enhanced
    from featnorm_se.inference.jobs import Settings

    if args.list:
        list_enhanced(read_scp(args.wav_scp), Path(args.output))
        return

    found = read_settings(args.config) if args.config else {}
    windowing = Windowing(**{key: found.pop(key) for key in WINDOWING if key in found})
    if args.model_file:
        found["model_file"] = args.model_file
    settings = Settings(args.model, device=args.device, windowing=windowing, **found)
    enhance_set(settings, Path(args.wav_scp), Path(args.output), shard)


def read_settings(path: str) -> dict[str, Any]:
    """Read a decoding YAML.

    Raises:
        FeatnormError: it cannot be read, or holds another key or a value of another kind.
    """
    from featnorm_se.config import read_config

    found, kinds = read_config(path), SETTINGS | WINDOWING
    for key, value in found.items():
        if key not in kinds:
            raise FeatnormError(f"{path}: no such key: {key!r}; there are {', '.join(kinds)}")
        # An int is a fine float; YAML's "no" in quotes is no false.
        allowed = (int, float) if kinds[key] is float else (kinds[key],)
        if value is not None and type(value) not in allowed:
            raise FeatnormError(f"{path}: {key} is {value!r}: {kinds[key].__name__} is wanted")
    return {key: value for key, value in found.items() if value is not None}


if __name__ == "__main__":
    raise SystemExit(run(main))
