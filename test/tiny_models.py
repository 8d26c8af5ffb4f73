"""Tiny models: checkpoints in the official layouts, and experiments made without training."""

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import torch
import yaml

from featnorm_se.model.separator import FeatNormSeparator
from featnorm_se.upstream import load_upstream, upstream_card

STFT = {"n_fft": 512, "hop_length": 160, "win_length": 400}


def layout(upstream: Any) -> dict[str, Any]:
    """Return what an official checkpoint of this upstream's family holds."""
    states: dict[str, Any] = upstream.s3prl_states()
    if "Transformer" not in states:
        return states
    of_pre_training = {
        "Optimizer": {"state": {}, "param_groups": []},
        "Step": 1000,
        "Args": argparse.Namespace(seed=1337, expdir="result", config=None),
        "Config": {"runner": {"total_steps": 1000}},
        "SpecHead": {},
    }
    return states | of_pre_training


def make(folder: Path, name: str, seed: int = 3, **changes: Any) -> Path:
    """Write ``folder/<name>.pt`` of a registered upstream, with values of its parts changed."""
    architecture = upstream_card(name)["architecture"]
    parts = [part for part in architecture.values() if isinstance(part, dict)]
    parts += [part["input"] for part in parts if "input" in part]
    for key, value in changes.items():
        holders = [part for part in [architecture, *parts] if key in part]
        if not holders:
            raise KeyError(key)
        for part in holders:
            part[key] = value
    upstream = load_upstream(name, config=architecture, seed=seed)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.pt"
    torch.save(layout(upstream), path)
    return path


def tiny_config(upstream: str, norm: str = "utterance", **separator: Any) -> dict[str, Any]:
    """Return what config.yaml says of a tiny model."""
    conf = {"upstream": upstream, "norm": norm, "layers": 1, "units": 8, **STFT, **separator}
    return {
        "encoder": "stft",
        "encoder_conf": dict(STFT),
        "separator": "featnorm",
        "separator_conf": conf,
        "decoder": "stft",
        "decoder_conf": dict(STFT),
        "criterions": [
            {"name": "log1p_l1", "conf": {}, "wrapper": "fixed_order", "wrapper_conf": {}}
        ],
        "model_conf": {},
        "init": None,
    }


def training_config(**separator: Any) -> dict[str, Any]:
    """Return a training YAML of a tiny model, without the upstream and the norm."""
    config = tiny_config("", "")
    for key in ("upstream", "norm"):
        del config["separator_conf"][key]
    config["separator_conf"] |= separator
    return config | {
        "optim": "adam",
        "optim_conf": {"lr": 0.001},
        "iterator_type": "chunk",
        "batch_size": 2,
        "num_workers": 0,
        "num_cache_chunks": 4,
        "valid_iterator_type": "sequence",
        "valid_batch_type": "sorted",
        "best_model_criterion": [["valid", "loss", "min"]],
        "use_matplotlib": False,
        "use_tensorboard": False,
    }


def trainer_options(**values: Any) -> Any:
    """Return options of ESPnet's trainer; what is not named is off."""
    from featnorm_se.training.trainer import FeatNormOptions  # takes a second

    usual = {"ngpu": 0, "accum_grad": 1, "grad_clip_type": 2.0, "log_interval": 100}
    off = {field.name: False for field in dataclasses.fields(FeatNormOptions)}
    return FeatNormOptions(**off | usual | values)


def save_tiny(
    folder: Path, upstream: str = "tera_tiny", norm: str = "utterance", **separator: Any
) -> Path:
    """Write an experiment's folder with random weights and statistics."""
    torch.manual_seed(0)
    config = tiny_config(upstream, norm, **separator)
    model = FeatNormSeparator(257, **config["separator_conf"]).eval()
    state = {f"separator.{key}": value for key, value in model.state_dict().items()}
    for key, value in state.items():
        if key.endswith(".std"):
            state[key] = torch.rand_like(value) + 0.5
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    torch.save(state, folder / "valid.loss.best.pth")
    return folder
