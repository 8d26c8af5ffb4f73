"""wav2vec 2.0 (Baevski et al. 2020), through ``s3prl.upstream.wav2vec2.wav2vec2_model``.

HuBERT takes the reading of fairseq's checkpoints from here.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from featnorm_se.errors import FeatnormError
from featnorm_se.upstream.checkpoint import parse_conv_layers
from featnorm_se.upstream.waveform import WaveformUpstream

# Options of fairseq's encoder that s3prl's model takes but the walk does not follow.
_FOLLOWED = {
    "layer_type": "transformer",
    "quantize_input": False,
    "crop_seq_to_multiple": 1,
}
_ACTIVATIONS = {"gelu": F.gelu, "relu": F.relu, "tanh": torch.tanh}


def make_picklable(model: Any, activation: str) -> Any:
    """Return the model with torch's activations; s3prl's, of the same values, have no name.

    Raises:
        FeatnormError: the activation is none that is known here.
    """
    if activation not in _ACTIVATIONS:
        raise FeatnormError(f"upstreams with activation_fn: {activation} are not supported")
    for layer in model.encoder.layers:
        layer.activation_fn = _ACTIVATIONS[activation]
    return model


def fields_of(kind: type, values: dict[str, Any]) -> dict[str, Any]:
    """Keep the values that the dataclass knows and fill in its defaults, as plain containers.

    Raises:
        FeatnormError: an option is set that we do not follow.
        TypeError: a required field is missing.
    """
    fields = [item.name for item in dataclasses.fields(kind)]
    known = dataclasses.asdict(kind(**{name: values[name] for name in fields if name in values}))
    for name, followed in _FOLLOWED.items():
        if known.get(name, followed) != followed:
            raise FeatnormError(f"upstreams with {name}: {known[name]} are not supported")
    return {k: list(v) if isinstance(v, tuple) else v for k, v in known.items()}


def read_layout(states: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Take architecture and weights out of s3prl's layout or fairseq's.

    s3prl: ``{"task_cfg", "model_cfg", "model_weight"}``. fairseq: ``{"cfg", "model"}`` with
    ``cfg["task"]`` and ``cfg["model"]``, or, older, ``{"args", "model"}`` with one flat namespace.
    HuBERT's label sets are counted, in fairseq's layout from the weights.
    """
    if "model_weight" in states:
        task, model, weights = states["task_cfg"], states["model_cfg"], states["model_weight"]
    elif isinstance(states.get("cfg"), dict):
        task, model, weights = states["cfg"]["task"], states["cfg"]["model"], states["model"]
    else:
        task = model = vars(states["args"])
        weights = states["model"]
    architecture: dict[str, Any] = {"task_cfg": dict(task), "model_cfg": dict(model)}
    if states.get("dictionaries_symbols"):
        architecture["labels"] = [len(symbols) for symbols in states["dictionaries_symbols"]]
    elif "label_embs_concat" in weights:
        architecture["labels"] = [weights["label_embs_concat"].size(0)]
    elif "label_rate" in architecture["model_cfg"]:  # HuBERT without what pre-training predicts
        architecture["labels"] = [1]
    return architecture, weights


def build(architecture: dict[str, Any]) -> WaveformUpstream:
    """Build from ``{"task_cfg": {...}, "model_cfg": {...}}``, with random weights."""
    from s3prl.upstream.wav2vec2.wav2vec2_model import (
        AudioPretrainingConfig,
        Wav2Vec2Config,
        Wav2Vec2Model,
    )

    task = fields_of(AudioPretrainingConfig, architecture["task_cfg"])
    model = fields_of(Wav2Vec2Config, architecture["model_cfg"])
    layers = parse_conv_layers(model["conv_feature_layers"])
    model["conv_feature_layers"] = repr(layers)
    return WaveformUpstream(
        make_picklable(Wav2Vec2Model(Wav2Vec2Config(**model)), model["activation_fn"]),
        {"task_cfg": task, "model_cfg": model},
        layers,
        bool(task["normalize"]),
    )


def read(states: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Take architecture and weights out of a checkpoint; see ``read_layout``."""
    architecture, weights = read_layout(states)
    if "labels" in architecture:
        raise FeatnormError("its weights are HuBERT's")
    return architecture, weights
