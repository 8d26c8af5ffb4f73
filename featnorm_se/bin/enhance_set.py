"""Stage 4: enhance a test set with a trained model."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from featnorm_se.bin import Parser, run
from featnorm_se.bin.collect_stats import parse_shard
from featnorm_se.data.parallel import set_threads
from featnorm_se.errors import FeatnormError

if TYPE_CHECKING:
    from featnorm_se.inference.jobs import Settings


def get_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = Parser(
        prog="python -m featnorm_se.bin.enhance_set",
        description="Enhance the utterances of a Kaldi scp. Shards run apart (--shard K/N) and"
        " --list writes spk1.scp (and spk2.scp, of a model of two talkers) when all are there.",
    )
    add = parser.add_argument
    add("--model", required=True, help="folder of the experiment")
    add("--wav_scp", type=Path, required=True, help="noisy utterances, 16 kHz mono")
    add("--output", type=Path, required=True, help="folder to write wav/ and spk1.scp to")
    add("--config", help="settings, YAML: model_file, precision, atten_lim, window, overlap, stats")
    add("--model_file", help="weights in the folder, if not those of --config")
    add("--shard", type=parse_shard, default="1/1", help="K/N: every N-th utterance from the K-th")
    add("--list", action="store_true", help="only write spk1.scp")
    add("--device", default="cpu", help="cpu or cuda")
    return parser


def main(argv: Sequence[str]) -> None:
    """Parse and enhance."""
    args = get_parser().parse_args(argv)
    set_threads(args.shard[1])
    from featnorm_se.inference.jobs import enhance_set

    given = {"model": args.model, "device": args.device}
    if args.model_file:
        given["model_file"] = args.model_file
    shard = None if args.list else args.shard
    enhance_set(make_settings(args.config, given), args.wav_scp, args.output, shard)


def make_settings(config: str | None, given: dict[str, Any]) -> Settings:
    """Make settings of a decoding YAML, if there is one, and what the command line says.

    Raises:
        FeatnormError: the file has another key or a value of another kind.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from featnorm_se.config import read_config
    from featnorm_se.inference.jobs import Settings
    from featnorm_se.names import check_precision

    found = dict(read_config(config)) if config else {}
    try:
        if "bf16" in found:
            found["precision"] = check_precision(found.get("precision", "auto"), found.pop("bf16"))
        if idle := sorted({"model", "device"} & found.keys()):
            raise FeatnormError(f"{idle[0]} is not for this file: --{idle[0]} says it")
        checked = OmegaConf.merge(OmegaConf.structured(Settings), found)
        # An interpolation stays the text that it is: nothing in the file is evaluated.
        values = cast("dict[str, Any]", OmegaConf.to_container(checked, resolve=False))
        return Settings(**(values | given))
    except (OmegaConfBaseException, TypeError, FeatnormError) as error:
        fault = " ".join(str(error).split())
        raise FeatnormError(f"{config}: {fault}" if config else fault) from error


if __name__ == "__main__":
    raise SystemExit(run(main))
