"""What a training configuration must not say, beyond what ESPnet's options refuse."""

import argparse
import re
from collections.abc import Mapping
from inspect import signature
from operator import not_
from typing import Any

from featnorm_se.errors import FeatnormError
from featnorm_se.model.separator import FeatNormSeparator

STFT = ("n_fft", "hop_length", "win_length")


def _holds(value: Any, kind: type) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(x, kind) for x in value)


_NOT_IN_USE = (not_, "enhancing would not do it")
_ALL_DECAY = (not_, "optim_conf.weight_decay is for all weights here")
_IDLE = ("no_forward_run", "dry_run", "collect_stats", "print_config")
_FIGURES = "a list such as [[valid, loss, min]] is wanted"
_COUNT = (lambda x: isinstance(x, int) and x > 0, "1 or more is wanted")
_REAL = (int, float)
_WRAPPED = {"name", "wrapper", "wrapper_conf"}
_GROUPS = "a list of groups, each with name, wrapper and wrapper_conf, is wanted"
# The recipes' task takes null for some of them.
_SIZE = (lambda x: x is None or isinstance(x, str) or _COUNT[0](x), _COUNT[1])
_SIZES = ("batch_size", "valid_batch_size", "num_iters_per_epoch", "log_interval", "patience")
_RANGE = r" *[1-9]\d*( *- *[1-9]\d*)? *"
_CHUNKS = (
    lambda x: re.fullmatch(f"{_RANGE}(,{_RANGE})*", str(x)),
    "samples are wanted, such as 20480, or of several lengths 20480,32000-48000",
)
# ESPnet reads these with its preprocessor alone.
_PREPROCESSING = (
    *("speech_volume_normalize", "speech_segment", "categories", "rir_scp", "noise_scp"),
    *("use_reverberant_ref", "flexible_numspk", "force_single_channel", "channel_reordering"),
    *("dynamic_mixing", "dynamic_mixing_gain_db", "utt2spk"),
)
# YAML reads 5_20 as a number.
_PAIR = r"-?[0-9.]+(_-?[0-9.]+)?"
_RANGE_TEXT = (
    lambda x: x is None or (isinstance(x, str) and re.fullmatch(_PAIR, x)),
    "a text is wanted, such as '5_20'",
)
_STFT_ONLY = (lambda x: x == "stft", "here it is stft")
_FEATNORM_ONLY = (lambda x: x == "featnorm", "here it is featnorm, with separator_conf.head")
# By key, which values are right, and what to tell whoever wrote another.
_SETTINGS = {
    "best_model_criterion": (lambda x: _holds(x, list) and {*map(len, x)} == {3}, _FIGURES),
    "criterions": (lambda x: _holds(x, dict) and all({*c} >= _WRAPPED for c in x), _GROUPS),
    "grad_clip": (lambda x: isinstance(x, _REAL) and x > 0, "above 0 is wanted (.inf: off)"),
    "upstream_lr_scale": (lambda x: isinstance(x, _REAL) and x >= 0, "0 or more is wanted"),
    "keep_nbest_models": (lambda x: all(map(_COUNT[0], x if _holds(x, int) else [x])), _COUNT[1]),
    "num_workers": (lambda x: isinstance(x, int) and x >= 0, "a number from 0 on is wanted"),
    "iterator_type": (lambda x: x not in (None, "none"), "chunk or sequence is wanted"),
    "optim": (lambda x: x != "lbfgs", "it wants several passes a step, which nothing here makes"),
    "train_dtype": (lambda x: x == "float32", "there is separator_conf.precision"),
    **dict.fromkeys(("accum_grad", "max_epoch"), _COUNT),
    **dict.fromkeys(_SIZES, _SIZE),
    "chunk_length": _CHUNKS,
    **dict.fromkeys(("noise_db_range", "speech_volume_normalize"), _RANGE_TEXT),
    **{"encoder": _STFT_ONLY, "decoder": _STFT_ONLY, "separator": _FEATNORM_ONLY},
    **dict.fromkeys(_IDLE, (not_, "it trains nothing")),
    "nbest_averaging_interval": (not_, "averages are made at the end"),
    "init_param": (not_, "it loads files that could run code: give --init"),
    "use_amp": (not_, "use_amp is separator_conf.precision=bf16 here"),
    "freeze_steps": (not_, "there is only separator_conf.freeze now"),
    **dict.fromkeys(("normalize_variance", "normalize_variance_per_ch"), _NOT_IN_USE),
    **dict.fromkeys(("exclude_weight_decay", "exclude_weight_decay_conf"), _ALL_DECAY),
}


def check_settings(config: Mapping[str, Any], source: str) -> None:
    """Check what would fail late, or be left out in silence.

    Raises:
        FeatnormError: such a setting; ``source`` is what the message calls the configuration.
    """
    settings = {**config.get("separator_conf", {}), **config.get("model_conf", {}), **config}
    for key, (is_right, wanted) in _SETTINGS.items():
        if key in settings and not is_right(settings[key]):
            raise FeatnormError(f"{source} or --set: {key} {settings[key]!r}: {wanted}")
    if not config.get("preprocessor"):
        for key in _PREPROCESSING:
            if config.get(key):
                raise FeatnormError(f"{source} or --set: {key} does nothing without a preprocessor")
    for key, one in signature(FeatNormSeparator).parameters.items():
        value = config.get("separator_conf", {}).get(key)
        # A quoted false is a text, which would count as true.
        if isinstance(one.default, bool | int | float | None) and isinstance(value, str):
            raise FeatnormError(f"{source} or --set: {key} {value!r} is a text: write no quotes")


def check_criteria(args: argparse.Namespace, model: Any) -> None:
    """Check that training will report the figures that choose the best epoch or end it.

    Raises:
        FeatnormError: one is not (the message lists those that are), or ``freeze_param`` is none.
    """
    for name in args.freeze_param:
        if not any(f"{key}.".startswith(f"{name}.") for key, _ in model.named_parameters()):
            raise FeatnormError(f"freeze_param {name!r}: no weight has a name that begins so")
    criterions = [wrapper.criterion for wrapper in model.loss_wrappers]
    trained = [one.name for one in criterions if not getattr(one, "only_for_test", False)]
    known = {f"train {name}" for name in ("loss", *trained)}
    known |= {f"valid {name}" for name in ("loss", *(one.name for one in criterions))}
    asked = [("best_model_criterion", words) for words in args.best_model_criterion]
    asked.append(("early_stopping_criterion", args.early_stopping_criterion))
    falls = args.scheduler_conf.get("mode", "min")  # what the scheduler itself takes it for
    asked.append(("val_scheduler_criterion", [*args.val_scheduler_criterion, falls]))
    for key, words in asked:
        *figure, mode = map(str, words)
        if " ".join(figure) not in known or mode not in ("min", "max"):
            fault = f"{key}: {' '.join(map(str, words))} is never reported; there are"
            raise FeatnormError(f"{fault} {', '.join(sorted(known))}, each min or max")
        if mode == "min" and figure[-1] in ("si_snr", "pesq_wb"):
            raise FeatnormError(f"{key} or scheduler_conf.mode: higher {figure[-1]} is better: max")


def check_one_stft(config: Mapping[str, Any], strict: bool = True) -> None:
    """Check that all parts have one STFT; ``strict``: of the kind, too, that the separator inverts.

    Raises:
        FeatnormError: they have not; the message names the key.
    """
    from espnet2.enh.encoder.stft_encoder import STFTEncoder

    known = signature(STFTEncoder).parameters if strict else {}
    wanted = {key: one.default for key, one in known.items()}
    wanted |= {key: config["encoder_conf"].get(key) for key in STFT}
    for group in ("encoder_conf", "separator_conf", "decoder_conf"):
        for key, value in {**dict.fromkeys(STFT), **config[group]}.items():
            if value != wanted.get(key, value) or (key in STFT and value is None):
                found = "unset" if value is None else f"{value!r}, not {wanted[key]!r}"
                raise FeatnormError(f"one plain STFT is needed: {group}.{key} is {found}")
    sizes = [wanted[key] for key in ("hop_length", "win_length", "n_fft")]
    if not (all(isinstance(size, int) for size in sizes) and 0 < sizes[0] < sizes[1] <= sizes[2]):
        found = f"hop_length {sizes[0]!r}, win_length {sizes[1]!r}, n_fft {sizes[2]!r}"
        raise FeatnormError(f"whole numbers, hop_length < win_length <= n_fft, are wanted: {found}")
