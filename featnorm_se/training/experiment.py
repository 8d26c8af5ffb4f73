"""One experiment: options in; ESPnet's configuration, the run's own record and weights out."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from featnorm_se.config import merge_configs, override_config, read_config
from featnorm_se.data.audio import audio_info
from featnorm_se.data.prepare import validate_data_dir
from featnorm_se.data.scp import read_scp, write_scp
from featnorm_se.errors import FeatnormError
from featnorm_se.files import sha256_file, write_text
from featnorm_se.names import check_norm
from featnorm_se.training.postponed import postponed_imports
from featnorm_se.training.record import RunRecord, process_rank
from featnorm_se.upstream import load_upstream
from featnorm_se.upstream.base import Upstream


@dataclass(frozen=True)
class Experiment:
    """What one fine-tuning run is about.

    Attributes:
        expdir: where everything of the run goes.
        config: the recipe's training YAML, in ESPnet's keys.
        train_dir, valid_dir: Kaldi-style data directories.
        upstream: name of the upstream.
        upstream_ckpt: its checkpoint: a path, a URL, ``scratch`` or ``None`` (the official).
        upstream_conf_dir: the recipe's ``conf/upstream``.
        norm: kind of feature normalization.
        norm_site: sites, comma-separated.
        clean_stats, noisy_stats: files of stage 2.
        seed: of everything random.
        ngpu: GPUs; 0 trains on the processor.
        deterministic: only algorithms that give the same bits every time, at some speed.
        overrides: ``key=value`` in ESPnet's keys, ``separator_conf.units=128``.
        command: the command line to keep in the record.
        launcher: what ``espnet2.bin.launch`` tells each process, in ESPnet's keys (``dist_*``).
    """

    expdir: Path
    config: Path
    train_dir: Path
    valid_dir: Path
    upstream: str
    upstream_ckpt: str | None = None
    upstream_conf_dir: Path | None = None
    norm: str = "none"
    norm_site: str = "auto"
    clean_stats: Path | None = None
    noisy_stats: Path | None = None
    seed: int = 0
    ngpu: int = 0
    deterministic: bool = False
    overrides: Sequence[str] = field(default_factory=tuple)
    command: str = ""
    launcher: Mapping[str, str] = field(default_factory=dict)


def train(experiment: Experiment) -> None:
    """Fine-tune one model with ESPnet's trainer; a run that was cut goes on where it was.

    Raises:
        FeatnormError: bad input: data directories, upstream, norm, site, statistics, YAML.
    """
    check_norm(experiment.norm)
    for folder in (experiment.train_dir, experiment.valid_dir):
        validate_data_dir(folder)
    upstream = load_upstream(
        experiment.upstream,
        experiment.upstream_ckpt,
        seed=experiment.seed,
        conf_dir=experiment.upstream_conf_dir,
    )
    config = resolve_config(experiment, upstream)
    counts = count_parameters(config)
    about = describe(experiment, config, upstream, counts)
    if RunRecord.is_finished(experiment.expdir, about):
        print(f"{experiment.expdir} is trained already", file=sys.stderr)
        return
    # Only now: importing the task takes time, and every check above should come first.
    with postponed_imports():
        from featnorm_se.training.task import FeatNormTask, check_options
    check_options(config, str(experiment.config))
    # Processes that an outer launcher started share the folder: the first one keeps the record.
    rank = process_rank(experiment.launcher)
    config.update(experiment.launcher)
    write_shapes(experiment.valid_dir / "wav.scp", Path(config["valid_shape_file"][0]))
    resolved = experiment.expdir / (f".train_args.{rank}.yaml" if rank else "train_args.yaml")
    write_text(resolved, yaml.safe_dump(config, sort_keys=False))
    record = None if rank else RunRecord.start(experiment.expdir, about)
    try:
        FeatNormTask.main(cmd=["--config", str(resolved)])
    except BaseException as error:
        if record is not None:
            record.fail(f"{type(error).__name__}: {error}".strip(": "))
        raise
    if record is not None:
        record.finish()


def resolve_config(experiment: Experiment, upstream: Upstream) -> dict[str, Any]:
    """Return the run's ESPnet configuration: the YAML, the overrides and the experiment's own.

    The separator's part is written so that ``config.yaml`` alone builds the model again.
    """
    config = override_config(read_training_config(experiment.config), experiment.overrides)
    if config.get("init_param"):
        raise FeatnormError(
            f"{experiment.config}: init_param loads files that could run code: give --upstream_ckpt"
        )
    for group in ("encoder_conf", "separator_conf"):
        if not isinstance(config.setdefault(group, {}), dict):
            raise FeatnormError(f"{experiment.config}: {group} is no group of keys")
    stft = {k: v for k, v in config.get("encoder_conf", {}).items() if k in _STFT_KEYS}
    config["separator"] = "featnorm"
    config["separator_conf"] = {
        **config.get("separator_conf", {}),
        **stft,
        "upstream": experiment.upstream,
        "upstream_conf": {"family": upstream.family, **upstream.config},
        "norm": experiment.norm,
        "norm_site": upstream.resolve_sites(experiment.norm_site),
    }
    config.update(
        output_dir=str(experiment.expdir),
        seed=experiment.seed,
        ngpu=experiment.ngpu,
        deterministic=experiment.deterministic,
        resume=True,
        upstream_ckpt=experiment.upstream_ckpt,
        upstream_conf_dir=_text(experiment.upstream_conf_dir),
        clean_stats=_text(experiment.clean_stats),
        noisy_stats=_text(experiment.noisy_stats),
        train_data_path_and_name_and_type=_sources(experiment.train_dir),
        valid_data_path_and_name_and_type=_sources(experiment.valid_dir),
        valid_shape_file=[str(experiment.expdir / "valid_shape")],
    )
    return config


_STFT_KEYS = ("n_fft", "hop_length", "win_length")


def read_training_config(path: Path) -> dict[str, Any]:
    """Read a training YAML.

    ``base: other.yaml`` in it names a file beside it whose keys it changes or adds to, group by
    group; a part that it replaces (``scheduler: tristagelr``) gets no ``scheduler_conf`` of it.

    Raises:
        FeatnormError: the file or its base is missing, is no YAML or no mapping, or is its own
            base.
    """
    return _read_over(path, ())


def _read_over(path: Path, readers: tuple[Path, ...]) -> dict[str, Any]:
    if Path(os.path.realpath(path)) in readers:
        raise FeatnormError(f"{path} is its own base")
    config = read_config(path)
    base = config.pop("base", None)
    if base is None:
        return config
    readers = (*readers, Path(os.path.realpath(path)))
    return _merged(_read_over(path.parent / str(base), readers), config)


def _merged(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Lay ``over`` over ``base``; a part that it replaces takes its ``_conf`` with it."""
    replaced = {f"{key}_conf" for key in over if over[key] != base.get(key)}
    return merge_configs({k: v for k, v in base.items() if k not in replaced}, over)


def write_shapes(scp: Path, output: Path) -> None:
    """Write ``<utterance> <samples>`` for every line of an scp, from the files' headers."""
    write_scp(output, {key: str(audio_info(p).frames) for key, p in read_scp(scp).items()})


def _sources(folder: Path) -> list[list[str]]:
    return [
        [str(folder / "wav.scp"), "speech_mix", "sound"],
        [str(folder / "spk1.scp"), "speech_ref1", "sound"],
    ]


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def count_parameters(config: Mapping[str, Any]) -> dict[str, int]:
    """Build the separator once, which checks its part of the configuration, and count.

    Raises:
        FeatnormError: a key of ``separator_conf`` that does not exist, or a value it refuses.
    """
    from featnorm_se.model.separator import FeatNormSeparator

    bins = int(config.get("encoder_conf", {}).get("n_fft", 512)) // 2 + 1
    try:
        model = FeatNormSeparator(bins, **config["separator_conf"])
    except TypeError as error:
        raise FeatnormError(f"separator_conf: {error}") from error
    parameters = list(model.parameters())
    return {
        "total": sum(p.numel() for p in parameters),
        "trainable": sum(p.numel() for p in parameters if p.requires_grad),
    }


def describe(
    experiment: Experiment,
    config: Mapping[str, Any],
    upstream: Upstream,
    counts: Mapping[str, int],
) -> dict[str, Any]:
    """Return what ``run.json`` says of the experiment before it starts."""
    prepared = experiment.train_dir.parent / "prepare.json"
    data = json.loads(prepared.read_text(encoding="utf-8")) if prepared.is_file() else {}
    return {
        "name": experiment.expdir.name,
        "command": experiment.command,
        "seed": experiment.seed,
        "upstream": experiment.upstream,
        "upstream_ckpt": experiment.upstream_ckpt,
        "upstream_identity": upstream.identity,
        "norm": experiment.norm,
        "norm_site": _acting_sites(config),
        "config_sha256": _config_hash(config),
        "config": dict(config),
        "statistics": {
            kind: {"file": str(path), "sha256": sha256_file(path)}
            for kind, path in (("clean", experiment.clean_stats), ("noisy", experiment.noisy_stats))
            if path is not None and path.is_file()
        },
        "data_sources": data.get("sources"),
        "max_epoch": config.get("max_epoch"),
        "parameters": dict(counts),
        "data": data,
    }


def _config_hash(config: Mapping[str, Any]) -> str:
    """Return a hash of what is trained; how long it is trained may change when it goes on."""
    free = {"max_epoch", "patience", "num_workers", "ngpu", "log_interval", "deterministic"}
    # Where things lie says nothing of what they are; the record keeps hashes of them.
    free |= {"output_dir", "clean_stats", "noisy_stats", "upstream_ckpt", "upstream_conf_dir"}
    free |= {"train_data_path_and_name_and_type", "valid_data_path_and_name_and_type"}
    free |= {"valid_shape_file", "max_bad_steps"}
    kept = {key: value for key, value in config.items() if key not in free}
    return hashlib.sha256(json.dumps(kept, sort_keys=True, default=str).encode()).hexdigest()


def _acting_sites(config: Mapping[str, Any]) -> str:
    """Return the sites that are normalized at, with commas; none for ``none`` and ``level``."""
    conf = config["separator_conf"]
    return "" if conf["norm"] in ("none", "level") else ",".join(conf["norm_site"])
