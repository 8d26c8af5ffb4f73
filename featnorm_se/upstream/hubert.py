"""HuBERT (Hsu et al. 2021), through ``s3prl.upstream.hubert.hubert_model``."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from featnorm_se.errors import FeatnormError
from featnorm_se.upstream.checkpoint import parse_conv_layers
from featnorm_se.upstream.wav2vec2 import fields_of, make_picklable, read_layout
from featnorm_se.upstream.waveform import WaveformUpstream


def build(architecture: dict[str, Any]) -> WaveformUpstream:
    """Build from ``{"task_cfg", "model_cfg", "labels"}``, with random weights.

    ``labels`` holds the size of each label set of pre-training; only the shape of weights that
    fine-tuning does not use hangs on it.
    """
    from s3prl.upstream.hubert.hubert_model import (
        HubertConfig,
        HubertModel,
        HubertPretrainingConfig,
    )

    task = fields_of(HubertPretrainingConfig, architecture["task_cfg"])
    model = fields_of(HubertConfig, architecture["model_cfg"])
    layers = parse_conv_layers(model["conv_feature_layers"])
    model["conv_feature_layers"] = repr(layers)
    labels = [int(size) for size in architecture["labels"]]
    network = HubertModel(
        HubertConfig(**model), HubertPretrainingConfig(**task), [range(n) for n in labels]
    )
    return WaveformUpstream(
        make_picklable(network, model["activation_fn"]),
        {"task_cfg": task, "model_cfg": model, "labels": labels},
        layers,
        bool(task["normalize"]),
    )


def read(states: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Take architecture and weights out of a checkpoint; see ``read_layout``."""
    architecture, weights = read_layout(states)
    if "labels" not in architecture:
        raise FeatnormError("its weights are wav2vec 2.0's")
    return architecture, weights
