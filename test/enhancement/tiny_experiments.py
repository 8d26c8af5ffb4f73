"""Tiny experiments, made without training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import yaml

STFT = {"n_fft": 512, "hop_length": 160, "win_length": 400}


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
    """Return a training YAML of a tiny model: chunks in batches of two, read in the process itself.

    The upstream and the norm are left for the experiment to name.
    """
    config = tiny_config("", "", **separator)
    for key in ("upstream", "norm"):
        del config["separator_conf"][key]
    return config | {
        "optim": "adam",
        "iterator_type": "chunk",
        "batch_size": 2,
        "num_workers": 0,
        "num_cache_chunks": 4,
        "seed": 0,
        "valid_iterator_type": "sequence",
        "valid_batch_type": "sorted",
        "best_model_criterion": [["valid", "loss", "min"]],
        "use_matplotlib": False,
        "use_tensorboard": False,
    }


def save_tiny(
    folder: Path, upstream: str = "tera_tiny", norm: str = "utterance", **separator: Any
) -> Path:
    """Write an experiment's folder with random weights and statistics."""
    from featnorm_se.enhancement.separator import FeatNormSeparator

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
