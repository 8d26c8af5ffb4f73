"""wav2vec 2.0 (Baevski et al. 2020) and HuBERT (Hsu et al. 2021), through s3prl's modules.

The two share one network and differ in their options and in what only pre-training uses.
"""

import dataclasses
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from featnorm_se.errors import FeatnormError
from featnorm_se.upstream.checkpoint import parse_conv_layers
from featnorm_se.upstream.waveform import WaveformUpstream

# Options of fairseq's encoder that s3prl's model takes but the walk does not follow.
_FOLLOWED = {"layer_type": "transformer", "quantize_input": False, "crop_seq_to_multiple": 1}
# In the place of s3prl's own, of the same values, which have no name to be pickled by.
_ACTIVATIONS = {"gelu": F.gelu, "relu": F.relu, "tanh": torch.tanh}


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


def read(states: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Take architecture and weights out of s3prl's layout or fairseq's.

    s3prl: ``{"task_cfg", "model_cfg", "model_weight"}``. fairseq: ``{"cfg", "model"}`` with
    ``cfg["task"]`` and ``cfg["model"]``, or, older, ``{"args", "model"}`` with one flat namespace.
    HuBERT's label sets are counted, in fairseq's layout from the weights; they tell it apart.
    """
    if any(str(name).startswith("w2v_encoder.") for name in states.get("model", ())):
        mend = "take what it was fine-tuned from, or Hugging Face's folder of it"
        raise FeatnormError(f"fairseq has fine-tuned it on a task: {mend}")
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
    architecture["family"] = "hubert" if "labels" in architecture else "wav2vec2"
    return architecture, weights


def build(architecture: dict[str, Any]) -> WaveformUpstream:
    """Build from ``{"family", "task_cfg": {...}, "model_cfg": {...}}``, with random weights.

    HuBERT's has ``labels`` too, the size of each label set of pre-training; only the shape of
    weights that fine-tuning does not use hangs on it.

    Raises:
        FeatnormError: an option is set that we do not follow.
    """
    from s3prl.upstream.hubert import hubert_model
    from s3prl.upstream.wav2vec2 import wav2vec2_model

    is_hubert = architecture["family"] == "hubert"
    task_kind: Any = wav2vec2_model.AudioPretrainingConfig
    model_kind: Any = wav2vec2_model.Wav2Vec2Config
    if is_hubert:
        task_kind, model_kind = hubert_model.HubertPretrainingConfig, hubert_model.HubertConfig
    task = fields_of(task_kind, architecture["task_cfg"])
    model = fields_of(model_kind, architecture["model_cfg"])
    layers = parse_conv_layers(model["conv_feature_layers"])
    model["conv_feature_layers"] = repr(layers)
    config: dict[str, Any] = {"task_cfg": task, "model_cfg": model}
    if is_hubert:
        config["labels"] = [int(size) for size in architecture["labels"]]
        labels = [range(size) for size in config["labels"]]
        network = hubert_model.HubertModel(model_kind(**model), task_kind(**task), labels)
    else:
        network = wav2vec2_model.Wav2Vec2Model(model_kind(**model))
    if architecture["model_cfg"].get("feat_proj_layer_norm") is False:  # DistilHuBERT
        network.layer_norm = nn.Identity()
        model["feat_proj_layer_norm"] = False
    if architecture["model_cfg"].get("post_extract_proj"):
        model["post_extract_proj"] = True
    if (activation := model["activation_fn"]) not in _ACTIVATIONS:
        raise FeatnormError(f"upstreams with activation_fn: {activation} are not supported")
    for layer in network.encoder.layers:
        layer.activation_fn = _ACTIVATIONS[activation]
    return WaveformUpstream(network, config, layers, bool(task["normalize"]))
