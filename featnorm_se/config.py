"""YAML of plain values, by OmegaConf: read, merged, set by ``key=value``, and compared."""

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from featnorm_se.errors import FeatnormError
from featnorm_se.files import PathLike, read_text, short_hash

# How long it is trained, and how much it says, may change when a run goes on.
LENGTH = ("max_epoch", "patience", "num_workers", "ngpu", "log_interval", "max_bad_steps")
# What builds the model, here and in ESPnet's stock inference.
MODEL = ("encoder", "encoder_conf", "separator", "separator_conf", "decoder", "decoder_conf")
# Where things lie says nothing of what they are; the record keeps hashes of them.
_PLACES = (
    *("output_dir", "clean_stats", "noisy_stats", "upstream_ckpt", "upstream_conf_dir"),
    *("train_data_path_and_name_and_type", "valid_data_path_and_name_and_type"),
    *("train_shape_file", "valid_shape_file", "init_model"),
)


def parse_config(data: bytes | str, where: str) -> dict[str, Any]:
    """Read YAML text of ``key: value`` lines; nothing in it is executed or interpolated.

    ``1e-4`` is a number, as in YAML 1.2.

    Args:
        data: one document; bytes are UTF-8.
        where: what messages call it.

    Raises:
        FeatnormError: it is no such YAML.
    """
    import yaml
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        text = data.decode("utf-8") if isinstance(data, bytes) else data
        config = OmegaConf.to_container(OmegaConf.create(text), resolve=False)
    except (yaml.YAMLError, OmegaConfBaseException, ValueError, RecursionError) as error:
        raise FeatnormError(f"{where} is no YAML: {' '.join(str(error).split())[:300]}") from error
    if not isinstance(config, dict):
        raise FeatnormError(f"{where} holds no 'key: value' lines")
    return {str(key): value for key, value in config.items()}


def read_config(path: PathLike) -> dict[str, Any]:
    """Read a YAML file of ``key: value`` lines.

    Raises:
        FeatnormError: it cannot be read or is no such YAML.
    """
    return parse_config(read_text(path), str(path))


def hash_model(path: PathLike) -> str:
    """Return a short hash of what builds the model in an experiment's ``config.yaml``."""
    config = read_config(path) if os.path.isfile(path) else {}
    return short_hash(json.dumps([config.get(key) for key in MODEL], sort_keys=True, default=str))


def merge_configs(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``base`` with the keys of ``over``: groups are merged, lists and values replaced.

    A part that is replaced takes its ``_conf`` with it: with another ``scheduler``, the base's
    ``scheduler_conf`` goes.
    """
    from omegaconf import OmegaConf

    replaced = {f"{key}_conf" for key in over if key in base and over[key] != base[key]}
    kept = {key: value for key, value in base.items() if key not in replaced}
    merged = OmegaConf.merge(OmegaConf.create(kept), OmegaConf.create(dict(over)))
    found: Any = OmegaConf.to_container(merged, resolve=False)
    # A group whose lines are all commented out is none.
    return {k: v for k, v in found.items() if v is not None or not k.endswith("_conf")}


def override_config(config: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return a configuration with ``a.b.c=value`` words laid over it, each value YAML.

    Raises:
        FeatnormError: one is not of that form or of what a run sets itself, or a ``*_conf`` is no
            group.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    for override in overrides:
        key, sign, _ = override.partition("=")
        if key in (*_PLACES, "resume") or key.startswith("separator_conf.upstream_conf"):
            raise FeatnormError(f"--set {override} does not count: the run's own options say it")
        if not sign or not all(key.split(".")):
            raise FeatnormError(f"--set {override!r}: key=value is wanted, such as optim_conf.lr=1")
    try:
        over = OmegaConf.to_container(OmegaConf.from_dotlist(list(overrides)), resolve=False)
        merged = merge_configs(config, dict(over))  # type: ignore[arg-type]
    except (OmegaConfBaseException, YAMLError, ValueError, IndexError) as error:
        reason = " ".join(str(error).split())
        reason += ": set a list as a whole" if "ListConfig" in reason else ""
        raise FeatnormError(f"--set {' '.join(overrides)}: {reason}") from error
    for key, value in merged.items():
        if key.endswith("_conf") and not isinstance(value, dict):
            raise FeatnormError(f"the YAML or --set: {key} {value!r} is no group of keys")
    return merged


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return both values of what two trainings differ in, but for places and length, by ``a.b``."""
    kept = ({k: v for k, v in x.items() if k not in (*LENGTH, *_PLACES)} for x in (before, now))
    # As JSON holds them, which the record of the first is.
    old, new = (flat(json.loads(json.dumps(one, default=str))) for one in kept)
    pairs = {key: (old.get(key, "unset"), new.get(key, "unset")) for key in sorted(old | new)}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


def flat(settings: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Return the values of nested settings by ``a.b.c``; ``above`` goes before each name."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        found |= flat(value, f"{above}{key}.") if isinstance(value, dict) else {above + key: value}
    return found
