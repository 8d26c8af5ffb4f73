#!/usr/bin/env python3
"""Look for words in a training configuration that stage 3 would stop at, before other stages."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from inspect import signature
from pathlib import Path

from featnorm_se.bin import Parser, run
from featnorm_se.errors import FeatnormError


def get_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = Parser("local/check_config.py", __doc__)
    parser.add_argument("--config", type=Path, required=True, help="training YAML")
    parser.add_argument("--set", dest="overrides", action="append", default=[], help="over it")
    parser.add_argument("--num_spk", type=int, help="talkers that the data has; else not looked at")
    parser.add_argument("--inference_config", help="decoding YAML, to be looked at too")
    return parser


def main(argv: Sequence[str]) -> None:
    """Hold the settings against ESPnet's, and build all that they are of with a tiny upstream."""
    args = get_parser().parse_args(argv)
    from featnorm_se.bin.enhance_set import make_settings
    from featnorm_se.config import override_config
    from featnorm_se.training.checks import STFT, check_settings
    from featnorm_se.training.experiment import read_training_config
    from featnorm_se.training.task import (
        FeatNormSeparator,
        build_parts,
        optim_classes,
        parse_options,
    )
    from featnorm_se.upstream import load_upstream

    if args.inference_config:
        make_settings(args.inference_config, {"model": ""})
    config = override_config(read_training_config(args.config), args.overrides)
    check_settings(config, str(args.config))
    talkers = config.get("separator_conf", {}).get("num_spk", 1)
    if args.num_spk not in (None, talkers):
        told = f"{args.config} or --set: separator_conf.num_spk is {talkers}"
        raise FeatnormError(f"{told}, --num_spk {args.num_spk}: they must be the same")
    optimizer = optim_classes[parse_options(config, str(args.config)).optim]
    for group, kind in (("separator_conf", FeatNormSeparator), ("optim_conf", optimizer)):
        if unknown := config.get(group, {}).keys() - signature(kind).parameters.keys():
            raise FeatnormError(f"{args.config} or --set: there is no {group}.{min(unknown)}")
    if args.num_spk is None:  # of --init, whose model has what the YAML lacks
        stft = dict(zip(STFT, (512, 160, 400), strict=True))
        config = {"encoder_conf": stft, "decoder_conf": stft} | config
    # What a real upstream has, the run itself checks: its layers, norm and site.
    tiny = load_upstream("tera_tiny", "scratch")
    stft = {key: value for key, value in config.get("encoder_conf", {}).items() if key in STFT}
    parts = {**config.get("separator_conf", {}), **stft, "upstream": "tera_tiny", "norm": "none"}
    config |= {"separator": "featnorm", "separator_conf": parts, "output_dir": ""}
    # Stage 3 sees to that figure.
    figures = [
        one for one in config.get("best_model_criterion", []) if one[1:] != ["si_snr", "max"]
    ]
    config["best_model_criterion"] = figures or [["valid", "loss", "min"]]
    source = f"{args.config} or --set"
    build_parts(parse_options(config, str(args.config)), source, tiny, None)


if __name__ == "__main__":
    raise SystemExit(run(main))
