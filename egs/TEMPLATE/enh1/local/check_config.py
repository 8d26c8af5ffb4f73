#!/usr/bin/env python3
"""Look for options and settings that a later stage would stop at, before any stage."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import Any

from featnorm_se.bin import Parser, add_upstream_options, run
from featnorm_se.errors import FeatnormError
from featnorm_se.fetch import is_hub_name
from featnorm_se.metrics.names import check_packages, resolve
from featnorm_se.names import FEATURE_NORMS, check_norm, check_sites, highest_site, resolve_sites


def get_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = Parser("local/check_config.py", __doc__)
    parser.add_argument("--config", type=Path, help="training YAML, if it is to be looked at")
    parser.add_argument("--set", dest="overrides", action="append", default=[], help="over it")
    parser.add_argument("--num_spk", type=int, help="talkers of the data; not with --init")
    parser.add_argument("--init", type=Path, help="trained model to start from")
    parser.add_argument("--norm", default="none", help="kind of normalization")
    add_upstream_options(parser)
    parser.add_argument("--inference_config", help="decoding YAML, to be looked at too")
    parser.add_argument("--metrics", help="metrics to score, separated by spaces")
    return parser


def main(argv: Sequence[str]) -> None:
    """Check what is named of a new model, the metrics, and the configuration."""
    args = get_parser().parse_args(argv)
    if args.init:
        check_init(args.init)
    if args.metrics:
        check_packages(resolve(args.metrics.split()))
    if args.config:
        check_training(args)
    elif args.num_spk is not None:
        check_named(args)


def check_init(source: Path) -> None:
    """Look whether a trained model is there, without loading it."""
    from featnorm_se.inference.model_file import count_talkers, find_weights

    count_talkers(source)
    if source.is_dir():
        find_weights(source)


def check_named(args: argparse.Namespace, feature: str = "last") -> None:
    """Hold norm, sites, feature and checkpoint against the upstream's card; none is loaded."""
    from unloaded import known_sites

    from featnorm_se.upstream import upstream_card

    card = upstream_card(args.upstream, args.upstream_conf_dir)
    check_norm(args.norm)
    sites, site = known_sites(card, args.upstream_ckpt, args.norm_site, feature), args.norm_site
    if args.upstream_ckpt not in (None, "scratch"):  # whose lowest site only its weights say
        site = ",".join(one for one in site.split(",") if one != "auto") or sites[0]
    normed = resolve_sites(site, sites, card.get("lowest_site", sites[0]))
    if args.config:  # it is to be trained
        check_sites(args.norm, normed)
    highest_site(feature, sites, normed if args.norm in FEATURE_NORMS else ())
    file = args.upstream_ckpt or ("" if card["architecture"] else card.get("source")) or "scratch"
    elsewhere = file == "scratch" or "://" in file or is_hub_name(file)
    if not elsewhere and not Path(file).exists():
        raise FeatnormError(
            f"--upstream_ckpt {file}: there is no such file or folder; a path, a name of"
            " Hugging Face's, 'scratch' or nothing (the official checkpoint) is wanted"
        )


def check_training(args: argparse.Namespace) -> None:
    """Hold the settings against ESPnet's, and build all that they are of with a tiny upstream."""
    from featnorm_se.bin.enhance_set import make_settings
    from featnorm_se.config import override_config
    from featnorm_se.training.checks import check_settings
    from featnorm_se.training.experiment import read_training_config
    from featnorm_se.training.task import FeatNormSeparator, optim_classes, parse_options

    if args.inference_config:
        make_settings(args.inference_config, {"model": ""})
    config = override_config(read_training_config(args.config), args.overrides)
    check_settings(config, str(args.config))
    talkers = config.get("separator_conf", {}).get("num_spk", 1)
    if args.num_spk not in (None, talkers):
        fault = f"{args.config} or --set: separator_conf.num_spk is {talkers}"
        raise FeatnormError(f"{fault}, --num_spk {args.num_spk}: they must be the same")
    optimizer = optim_classes[parse_options(config, str(args.config)).optim]
    for group, kind in (("separator_conf", FeatNormSeparator), ("optim_conf", optimizer)):
        if unknown := config.get(group, {}).keys() - signature(kind).parameters.keys():
            raise FeatnormError(f"{args.config} or --set: there is no {group}.{min(unknown)}")
    check_recordings(config)
    is_init = args.num_spk is None
    if not is_init:
        check_named(args, config.get("separator_conf", {}).get("feature", "last"))
    build_tiny(config, f"{args.config} or --set", is_init)


def check_recordings(config: Mapping[str, Any]) -> None:
    """Look at the noises and rooms that training is to draw from: mono, 16 kHz, not empty."""
    from featnorm_se.data.datadir import ready_info
    from featnorm_se.data.scp import read_scp

    for key in ("noise_scp", "rir_scp"):
        for path in read_scp(config[key]).values() if config.get(key) else ():
            ready_info(path, f"convert what {key} names")


def build_tiny(config: dict[str, Any], source: str, is_init: bool) -> None:
    """Build all that a configuration is of with a tiny upstream.

    Of --init, whose model has what the YAML lacks, losses and what they report are not looked at.
    What depends on the upstream itself, such as its sites, the run checks.
    """
    from featnorm_se.model.head import HEADS
    from featnorm_se.training.checks import STFT
    from featnorm_se.training.experiment import add_figures
    from featnorm_se.training.task import build_parts, parse_options
    from featnorm_se.upstream import load_upstream

    parts = dict(config.get("separator_conf", {}))
    encoder, decoder = (dict(config.get(f"{part}_conf", {})) for part in ("encoder", "decoder"))
    if is_init:
        encoder = dict(zip(STFT, (512, 160, 400), strict=True)) | encoder
        decoder = {key: encoder[key] for key in STFT} | decoder
    if is_init and "criterions" not in config:
        figures = ("best_model_criterion", "early_stopping_criterion", "val_scheduler_criterion")
        config = {key: value for key, value in config.items() if key not in figures}
        config |= {figures[1]: ["valid", "loss", "min"], figures[2]: ["valid", "loss"]}
    add_figures(config, parts.get("num_spk", 1))
    parts |= {key: value for key, value in encoder.items() if key in STFT}
    parts |= {"upstream": "tera_tiny", "norm": "none", "norm_site": "auto"}
    if parts.get("feature") != "weighted_sum":  # a layer that the tiny one may not have
        parts["feature"] = "last"
    if parts.get("head") in HEADS:  # one's own may not fit the tiny width
        parts["head"] = "blstm"
    config |= {"encoder_conf": encoder, "decoder_conf": decoder, "separator_conf": parts}
    config |= {"separator": "featnorm", "output_dir": "", "upstream_lr_scale": 1.0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        upstream = load_upstream("tera_tiny", "scratch")
        build_parts(parse_options(config, source), source, upstream, None)


if __name__ == "__main__":
    raise SystemExit(run(main))
