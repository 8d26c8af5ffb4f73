"""Stage 4: enhance a test set with a trained model."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from featnorm_se.bin import Parser, run
from featnorm_se.errors import FeatnormError

# The keys of conf/decode.yaml, what they are and what holds where one is not given.
SETTINGS: dict[str, tuple[type, Any]] = {
    "model_file": (str, None),
    "bf16": (bool, False),
    "atten_lim": (float, None),
    "window": (float, 20.0),
    "overlap": (float, 3.0),
    "stats": (str, "file"),
}


def get_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = Parser(
        prog="python -m featnorm_se.bin.enhance_set",
        description="Enhance the utterances of a Kaldi scp. Shards run apart (--shard K/N) and"
        " --list writes spk1.scp when all are there.",
    )
    parser.add_argument("--model", required=True, help="folder of the experiment")
    parser.add_argument("--wav_scp", required=True, help="noisy utterances, 16 kHz mono")
    parser.add_argument("--output", required=True, help="folder to write wav/ and spk1.scp to")
    parser.add_argument("--config", help="YAML of settings: " + ", ".join(SETTINGS))
    parser.add_argument("--model_file", help="weights in the folder; nothing: see --config")
    parser.add_argument("--shard", default="1/1", help="K/N: every N-th utterance from the K-th")
    parser.add_argument("--list", action="store_true", help="only write spk1.scp")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    return parser


def main(argv: Sequence[str]) -> None:
    """Parse and enhance."""
    args = get_parser().parse_args(argv)
    from featnorm_se.bin.collect_stats import parse_shard

    shard = parse_shard(args.shard)
    from featnorm_se.data.scp import list_enhanced, read_scp

    output = Path(args.output)
    if args.list:
        list_enhanced(read_scp(args.wav_scp), output)
        return
    from featnorm_se.inference.inference import enhance_set
    from featnorm_se.inference.longform import Windowing
    from featnorm_se.inference.windows import plan_windows

    told = read_settings(Path(args.config)) if args.config else read_settings(None)
    windowing = Windowing(told["window"], told["overlap"], told["stats"])
    plan_windows(1, windowing.seconds, windowing.overlap)  # tells bad lengths before any work
    enhance_set(
        Path(args.model),
        Path(args.wav_scp),
        output,
        shard=shard,
        device=args.device,
        model_file=args.model_file or told["model_file"],
        bf16=told["bf16"],
        atten_lim=told["atten_lim"],
        windowing=windowing,
        newer_than=Path(args.config).stat().st_mtime if args.config else 0.0,
    )


def read_settings(path: Path | None) -> dict[str, Any]:
    """Read a decoding YAML; keys that are not in it have their defaults.

    Raises:
        FeatnormError: it cannot be read, or holds another key or a value of another kind.
    """
    from featnorm_se.config import parse_config

    try:
        found = parse_config(path.read_bytes(), str(path)) if path else {}
    except OSError as error:
        raise FeatnormError(f"cannot read --config {path}: {error.strerror}") from error
    for key, value in found.items():
        if key not in SETTINGS:
            raise FeatnormError(f"{path}: no such key: {key!r}; there are {', '.join(SETTINGS)}")
        kind = SETTINGS[key][0]
        # An int is a fine float; True is no number.
        if not isinstance(value, (int, float) if kind is float else kind) or (
            kind is float and isinstance(value, bool)
        ):
            raise FeatnormError(f"{path}: {key} is {value!r}: {kind.__name__} is wanted")
    return {key: found.get(key, default) for key, (_, default) in SETTINGS.items()}


if __name__ == "__main__":
    raise SystemExit(run(main))
