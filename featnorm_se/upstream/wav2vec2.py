"""wav2vec 2.0 (Baevski et al. 2020), through ``s3prl.upstream.wav2vec2.wav2vec2_model``."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from featnorm_se.errors import FeatnormError
from featnorm_se.upstream.fairseq import fields_of, make_picklable, read_layout
from featnorm_se.upstream.padding import padding_mask
from featnorm_se.upstream.waveform import WaveformUpstream, parse_conv_layers


class Wav2Vec2Upstream(WaveformUpstream):
    """wav2vec 2.0. Its own padding mask follows the convolutions exactly."""

    family = "wav2vec2"

    def _padding_mask(
        self, x: Tensor, wav: Tensor, wav_lengths: Tensor, lengths: Tensor
    ) -> Tensor | None:
        if int(lengths.min()) == x.size(1):
            return None
        return padding_mask(lengths, x.size(1))


def build(architecture: dict[str, Any]) -> Wav2Vec2Upstream:
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
    return Wav2Vec2Upstream(
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
