"""A finished enhancer to start from (``--init``): its weights, statistics and architecture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featnorm_se.errors import FeatnormError, say
from featnorm_se.files import read_json, sha256_file
from featnorm_se.upstream import load_upstream

if TYPE_CHECKING:
    from featnorm_se.model.separator import FeatNormSeparator
    from featnorm_se.upstream.base import Upstream

# What the weights fix of the separator; the rest of separator_conf says how it is trained.
_SEPARATOR = (
    *("upstream", "norm", "norm_site", "feature", "feature_layer_norm", "use_spectrum"),
    *("n_fft", "hop_length", "win_length", "head", "layers", "units", "num_spk"),
)
FIGURES = ("valid_si_snr", "valid_pesq_wb")  # criterions that only validation reports
_GROUPS = ("encoder_conf", "separator_conf", "decoder_conf")


def without_figures(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a training configuration without what ``add_figures`` has added to it."""
    kept = [one for one in config.get("criterions") or () if one.get("name") not in FIGURES]
    return {**config, "criterions": kept} if "criterions" in config else dict(config)


@dataclass(frozen=True)
class InitialModel:
    """A trained model that another training goes on from.

    Attributes:
        source: the experiment's folder or the packed zip.
        config: its ``config.yaml``.
        separator: with its weights and statistics in it; its upstream's ``identity`` is a hash of
            the weights' file (of the zip itself where it is packed).
    """

    source: Path
    config: dict[str, Any]
    separator: FeatNormSeparator

    def complete(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Add what the weights fix, and the loss, to a training configuration without them.

        Raises:
            FeatnormError: something contradicts the weights; the message lists all of it.
        """
        known = signature(type(self.separator)).parameters
        own = {**self.config["separator_conf"], "norm_site": self.separator.norm_sites}
        taken = [key for key in _SEPARATOR if key in own or key != "num_spk"]  # 1 is left unsaid
        fixed = {group: dict(self.config[group]) for group in _GROUPS}
        fixed["separator_conf"] = {key: own.get(key, known[key].default) for key in taken}
        given = {group: dict(config.get(group) or {}) for group in _GROUPS}
        wrong = []
        for group, there in fixed.items():
            for key, value in given[group].items():
                if group == "separator_conf" and key not in _SEPARATOR:
                    continue  # how it is trained
                was = there.get(key, 1 if key == "num_spk" else None)
                if value != was:
                    wrong.append(f"{group}.{key} {value!r} (there {was!r})")
        if wrong:
            fault = f"--init {self.source} does not fit {', '.join(wrong)}"
            raise FeatnormError(f"{fault}: leave these out, they come from there")
        own_loss = without_figures(self.config)
        loss = {k: v for k, v in own_loss.items() if k in ("criterions", "model_conf")}
        return {**loss, **config, **{group: fixed[group] | given[group] for group in _GROUPS}}


def load_start(
    name: str, checkpoint: str | None, seed: int, conf_dir: Path | None, init: Path | None
) -> tuple[Upstream, InitialModel | None]:
    """Load what training starts from: an upstream and, with ``init``, the model that it is of.

    Raises:
        FeatnormError: it cannot be had; see ``load_upstream`` and ``read_initial``.
    """
    if init is None:
        return load_upstream(name, checkpoint, seed=seed, conf_dir=conf_dir), None
    initial = read_initial(init)
    return initial.separator.upstream, initial


def read_initial(source: Path) -> InitialModel:
    """Read an experiment's folder (its best weights) or a packed model; no code in it is run.

    Raises:
        FeatnormError: there is none, or it is broken or no model of this project.
    """
    from featnorm_se.inference.enhancer import Enhancer
    from featnorm_se.inference.model_file import find_weights, read_model

    if not source.exists():
        raise FeatnormError(f"--init {source}: there is no such experiment or packed model")
    record = source / "run.json"
    if record.is_file() and not read_json(record).get("finished"):
        say(f"warning: --init {source} is not trained to its end: its best epoch so far is taken")
    config, weights = read_model(source)
    try:
        separator = Enhancer(config, weights).separator
    except FeatnormError as error:
        raise FeatnormError(f"--init {source}: {error}") from error
    file = source if source.is_file() else find_weights(source)
    separator.upstream.identity = f"sha256:{sha256_file(file)}"
    return InitialModel(source, config, separator)
