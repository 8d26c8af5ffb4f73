"""wav2vec 2.0 (Baevski et al. 2020), through ``s3prl.upstream.wav2vec2.wav2vec2_model``."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from featnorm_se.errors import FeatnormError
from featnorm_se.upstream.fairseq import fields_of, make_picklable, read_layout
from featnorm_se.upstream.waveform import WaveformUpstream, parse_conv_layers


def build(architecture: dict[str, Any]) -> WaveformUpstream:
    """Build from ``{"task_cfg": {...}, "model_cfg": {...}}``, with random weights."""
    from s3prl.upstream.wav2vec2.wav2vec2_model import (
        AudioPretrainingConfig,
        Wav2Vec2Config,
        Wav2Vec2Model,
    )

    task = fields_of(AudioPretrainingConfig, architecture["task_cfg"], "task_cfg")
    model = fields_of(Wav2Vec2Config, architecture["model_cfg"], "model_cfg")
    layers = parse_conv_layers(model["conv_feature_layers"])
    model["conv_feature_layers"] = repr(layers)
    return WaveformUpstream(
        make_picklable(Wav2Vec2Model(Wav2Vec2Config(**model)), model["activation_fn"]),
        {"task_cfg": task, "model_cfg": model},
        layers,
        bool(task["normalize"]),
    )


def read(states: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Take architecture and weights out of a checkpoint; see ``fairseq.read_layout``."""
    architecture, weights = read_layout(states)
    if "labels" in architecture:
        raise FeatnormError("its weights are HuBERT's")
    return architecture, weights
