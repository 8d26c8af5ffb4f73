"""A finished enhancer to start from (``--init``): its weights, statistics and architecture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any

from featnorm_se.errors import FeatnormError
from featnorm_se.files import sha256_file
from featnorm_se.inference.enhancer import Enhancer
from featnorm_se.inference.model_file import find_weights, read_model
from featnorm_se.model.separator import FeatNormSeparator

# What the weights fix of the separator; the rest of separator_conf says how it is trained.
_SEPARATOR = (
    *("upstream", "norm", "norm_site", "feature", "feature_layer_norm", "use_spectrum"),
    *("n_fft", "hop_length", "win_length", "layers", "units"),
)
_GROUPS = ("encoder_conf", "separator_conf", "decoder_conf")


@dataclass(frozen=True)
class InitialModel:
    """A trained model that another training goes on from.

    Attributes:
        source: the experiment's folder or the packed zip.
        sha256: of the weights' file, the zip itself where it is packed.
        config: its ``config.yaml``.
        separator: with its weights and statistics in it.
    """

    source: Path
    sha256: str
    config: dict[str, Any]
    separator: FeatNormSeparator

    def complete(self, config: Mapping[str, Any], options: Mapping[str, str]) -> dict[str, Any]:
        """Add what the weights fix, and the loss, to a training configuration that leaves it out.

        Args:
            config: the training configuration.
            options: ``upstream``, ``norm`` and ``norm_site`` as given; empty: not given.

        Raises:
            FeatnormError: something contradicts the weights; the message lists all of it.
        """
        own = self.config["separator_conf"]
        known = signature(FeatNormSeparator).parameters
        fixed = {group: dict(self.config[group]) for group in _GROUPS}
        fixed["separator_conf"] = {key: own.get(key, known[key].default) for key in _SEPARATOR}
        fixed["separator_conf"]["norm_site"] = self.separator.norm_sites
        given = {group: dict(config.get(group) or {}) for group in _GROUPS}
        named = {key: value for key, value in options.items() if value}
        if "norm_site" in named:
            named["norm_site"] = self.separator.upstream.resolve_sites(named["norm_site"])
        wrong = [
            f"{group}.{key} {value!r} (there {fixed[group].get(key)!r})"
            for group, values in given.items()
            for key, value in values.items()
            if (key in _SEPARATOR or group != "separator_conf") and value != fixed[group].get(key)
        ]
        wrong += [
            f"--{key} {options[key]} (there {fixed['separator_conf'][key]!r})"
            for key, value in named.items()
            if value != fixed["separator_conf"][key]
        ]
        if wrong:
            raise FeatnormError(
                f"--init {self.source} does not fit {', '.join(wrong)}: leave these out, they come"
                " from there"
            )
        loss = {key: self.config[key] for key in ("criterions", "model_conf") if key in self.config}
        return {**loss, **config, **{group: fixed[group] | given[group] for group in _GROUPS}}


def read_initial(source: Path) -> InitialModel:
    """Read an experiment's folder, its best weights, or a packed model; no code in it is run.

    Raises:
        FeatnormError: there is none, or it is broken or no model of this project.
    """
    if not source.exists():
        raise FeatnormError(
            f"--init {source}: there is no such folder of an experiment or packed model"
        )
    sha256 = sha256_file(source if source.is_file() else find_weights(source))
    config, weights = read_model(source)
    try:
        separator = Enhancer(config, weights).separator
    except FeatnormError as error:
        raise FeatnormError(f"--init {source}: {error}") from error
    separator.upstream.identity = f"sha256:{sha256}"
    return InitialModel(source, sha256, config, separator)
