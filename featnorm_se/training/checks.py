"""What a training configuration must not say, beyond what ESPnet's options refuse."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from inspect import signature
from typing import Any

from featnorm_se.errors import FeatnormError

STFT = ("n_fft", "hop_length", "win_length")


def check_criteria(args: argparse.Namespace, model: Any) -> None:
    """Check that training will report the figures that choose the best epoch or end it.

    Raises:
        FeatnormError: one is not; the message lists those that are.
    """
    criterions = [wrapper.criterion for wrapper in model.loss_wrappers]
    trained = [one.name for one in criterions if not getattr(one, "only_for_test", False)]
    known = {f"train {name}" for name in ("loss", *trained)}
    known |= {f"valid {name}" for name in ("loss", *(one.name for one in criterions))}
    asked = [("best_model_criterion", words) for words in args.best_model_criterion]
    asked.append(("early_stopping_criterion", args.early_stopping_criterion))
    asked.append(("val_scheduler_criterion", [*args.val_scheduler_criterion, "min"]))
    for key, words in asked:
        *figure, mode = map(str, words)
        if " ".join(figure) not in known or mode not in ("min", "max"):
            raise FeatnormError(
                f"{key}: {' '.join(map(str, words))} is never reported; there are"
                f" {', '.join(sorted(known))}, each min or max"
            )


def check_one_stft(config: Mapping[str, Any]) -> None:
    """Check that encoder, separator and decoder name the same STFT, which the separator inverts.

    Raises:
        FeatnormError: they do not; the message has the values.
    """
    from espnet2.tasks.enh import decoder_choices, encoder_choices

    groups = ("encoder_conf", "separator_conf", "decoder_conf")
    for key in STFT:
        values = {group: (config.get(group) or {}).get(key) for group in groups}
        if len(set(values.values())) != 1 or None in values.values():
            found = ", ".join(f"{group}.{key} {value}" for group, value in values.items())
            raise FeatnormError(f"one STFT is needed, the configuration has {found}")
    for group, choices in (("encoder_conf", encoder_choices), ("decoder_conf", decoder_choices)):
        known = signature(choices.classes["stft"]).parameters
        for key, value in config[group].items():
            if key not in STFT and key in known and value != known[key].default:
                told = f"{group}.{key} {value!r}, only {known[key].default!r} can be inverted"
                raise FeatnormError(f"one STFT is needed, the configuration has {told}")
