#!/usr/bin/env python3
"""Write the folders beside this file: tiny models by transformers' own classes.

Needs transformers (5.24 made what is here), which the tests do not: ``python make_fixture.py``.
``expected.npz`` holds one signal and what transformers computes from it at each site.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
import transformers as hf
from safetensors.torch import save_file

HERE = Path(__file__).parent
OLD = (
    ("parametrizations.weight.original0", "weight_g"),
    (
        "parametrizations.weight.original1",
        "weight_v",
    ),
)
SHAPE = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_dim": [16] * 4,
    "conv_kernel": [10, 3, 3, 2],
    "conv_stride": [5, 2, 2, 2],
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
    "num_codevectors_per_group": 4,
    "codevector_dim": 8,
    "proj_codevector_dim": 8,
    "vocab_size": 8,
}
LARGE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
BUCKETS = {"num_buckets": 16, "max_bucket_distance": 20}

# Folder: class, changes of the configuration, file, the older names of weight norm, half precision.
MODELS = {
    "wavlm_base": (hf.WavLMModel, BUCKETS, "model.safetensors", False, False),
    "wavlm_large": (hf.WavLMForCTC, {**BUCKETS, **LARGE}, "pytorch_model.bin", True, False),
    "hubert_base": (hf.HubertForCTC, {}, "pytorch_model.bin", True, False),
    "hubert_large": (hf.HubertModel, LARGE, "model.safetensors", False, True),
    "wav2vec2_base": (hf.Wav2Vec2ForPreTraining, {}, "model.safetensors", True, False),
    "wav2vec2_large": (hf.Wav2Vec2Model, LARGE, "pytorch_model.bin", False, False),
}


def main() -> None:
    """Write all of it."""
    signal = np.random.default_rng(0).standard_normal(1200).astype(np.float32) + 0.3
    expected = {"signal": signal}
    for number, (name, (kind, changes, file, old, half)) in enumerate(MODELS.items()):
        torch.manual_seed(number)
        model = kind(kind.config_class(**SHAPE, **changes)).eval()
        for parameter in model.parameters():  # those that begin as zeros and ones, too
            parameter.data += 0.1 * torch.randn_like(parameter)
        if half:
            model.half().float()
        folder = HERE / name
        model.config.save_pretrained(folder)
        config = json.loads((folder / "config.json").read_text())
        config["architectures"] = [kind.__name__]
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        weights = {key: value.clone() for key, value in model.state_dict().items()}
        if half:
            weights = {key: value.half() for key, value in weights.items()}
        if old:
            for new_name, old_name in OLD:
                weights = {k.replace(new_name, old_name): v for k, v in weights.items()}
        if file.endswith("safetensors"):
            save_file(weights, folder / file, metadata={"format": "pt"})
        else:
            torch.save(weights, folder / file)
        base = getattr(model, model.base_model_prefix, model)
        extractor = hf.Wav2Vec2FeatureExtractor(do_normalize="large" in name)
        wav = extractor(signal, sampling_rate=16000, return_tensors="pt").input_values
        with torch.no_grad():
            out = base(wav, output_hidden_states=True)
            front = base.feature_extractor(wav).transpose(1, 2)
        states = list(out.hidden_states)
        states[-1] = out.last_hidden_state  # behind the closing norm, where there is one
        expected[f"{name}/frontend"] = front[0].numpy()
        expected[f"{name}/projection"] = states[0][0].numpy()
        for layer, state in enumerate(states[1:], start=1):
            expected[f"{name}/layer.{layer}"] = state[0].numpy()
    np.savez_compressed(HERE / "expected.npz", **expected)


if __name__ == "__main__":
    main()
