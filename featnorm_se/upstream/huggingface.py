"""Hugging Face's folders (``config.json`` and weights), read without transformers."""

import copy
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from featnorm_se.errors import FeatnormError
from featnorm_se.files import read_json
from featnorm_se.upstream.checkpoint import read_checkpoint

CONFIG = "config.json"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
ENDINGS = (".safetensors", ".bin")
# Where the architecture of each family holds the network, and the task.
FAMILIES = {
    "wavlm": ("cfg", "cfg"),
    "hubert": ("model_cfg", "task_cfg"),
    "wav2vec2": ("model_cfg", "task_cfg"),
}

# Patterns of their names, and what s3prl has there.
_NAMES = (
    (r"^masked_spec_embed$", "mask_emb"),
    (r"^feature_projection\.layer_norm\.", "layer_norm."),
    (r"^feature_projection\.projection\.", "post_extract_proj."),
    (r"(\.conv_layers\.\d+)\.conv\.", r"\1.0."),
    (r"(\.conv_layers\.\d+)\.layer_norm\.", r"\1.2."),  # .2.1. where each layer has one
    (r"\.pos_conv_embed\.conv\.", ".pos_conv.0."),
    (r"(\.layers\.\d+)\.layer_norm\.", r"\1.self_attn_layer_norm."),
    (r"\.feed_forward\.intermediate_dense\.", ".fc1."),
    (r"\.feed_forward\.output_dense\.", ".fc2."),
    (r"\.attention\.", ".self_attn."),
    (r"\.gru_rel_pos_const$", ".grep_a"),
    (r"\.gru_rel_pos_linear\.", ".grep_linear."),
    (r"\.rel_attn_embed\.", ".relative_attention_bias."),
)
# Keys of their configuration and of s3prl's. Their dropouts are not those of the pre-training.
_KEYS = {
    "num_hidden_layers": "encoder_layers",
    "hidden_size": "encoder_embed_dim",
    "intermediate_size": "encoder_ffn_embed_dim",
    "num_attention_heads": "encoder_attention_heads",
    "hidden_act": "activation_fn",
    "do_stable_layer_norm": "layer_norm_first",
    "num_conv_pos_embeddings": "conv_pos",
    "num_conv_pos_embedding_groups": "conv_pos_groups",
    "conv_bias": "conv_bias",
    "num_buckets": "num_buckets",  # these two: WavLM only
    "max_bucket_distance": "max_distance",
}
_MODES = {"group": "default", "layer": "layer_norm"}
# What s3prl's networks have no option for.
_FOLLOWED = {
    "hidden_act": "gelu",
    "feat_extract_activation": "gelu",
    "layer_norm_eps": 1e-5,
    "conv_pos_batch_norm": False,
    "adapter_attn_dim": None,
    "quantization_config": None,
}


def is_described(weights: Path) -> bool:
    """Whether a file of weights lies beside a model's ``config.json``."""
    config = weights.parent / CONFIG
    return weights.suffix in ENDINGS and config.is_file() and "model_type" in read_json(config)


def read_folder(
    folder: Path, family: str, architecture: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Tensor], list[Path]]:
    """Take architecture and weights out of a folder.

    Args:
        folder: with ``config.json`` and ``model.safetensors`` or ``pytorch_model.bin``; or a file
            of weights in it.
        family: ``wavlm``, ``hubert`` or ``wav2vec2``.
        architecture: the card's, for what ``config.json`` does not say: dropouts, and the parts
            of pre-training.

    Returns:
        The architecture and the weights, as the family's ``build`` and s3prl's network have them,
        and the two files that they are from.

    Raises:
        FeatnormError: it is another model than of this family, or one that cannot be read.
    """
    config = read_description(folder, family)
    names: tuple[str, ...] = WEIGHTS
    if not folder.is_dir():
        folder, names = folder.parent, (folder.name,)
    found = [folder / name for name in names if (folder / name).is_file()]
    if not found:
        parted = "in parts: save them in one (save_pretrained's max_shard_size)"
        parts = parted if list(folder.glob("*.index.json")) else "not there"
        raise FeatnormError(f"{folder}: the weights ({' or '.join(WEIGHTS)}) are {parts}")
    weights = rename(read_checkpoint(found[0]))
    return _architecture(config, folder, architecture), weights, [folder / CONFIG, found[0]]


def read_description(folder: Path, family: str) -> dict[str, Any]:
    """Return what ``config.json`` says of a folder, or of a file of weights in it.

    Raises:
        FeatnormError: it is another model than of this family, or one that cannot be read.
    """
    folder = folder if folder.is_dir() else folder.parent
    if all((folder / name).is_file() for name in ("run.json", "config.yaml")):
        mend = "go on from it with --init, or featnorm-se export-upstream gives its upstream"
        raise FeatnormError(f"{folder} is an experiment: {mend}")
    config = read_json(folder / CONFIG)
    kind = config.get("model_type") if isinstance(config, dict) else None
    if kind != family or family not in FAMILIES:
        fault = f"{folder / CONFIG} is of the type {kind!r}, --upstream of the family {family}"
        read = f"types that are read are {', '.join(FAMILIES)}"
        mend = f"take an --upstream of the family {kind}" if kind in FAMILIES else read
        raise FeatnormError(f"{fault}: {mend}")
    for key, followed in _FOLLOWED.items():
        if config.get(key, followed) != followed:
            raise FeatnormError(f"{folder / CONFIG}: {key} {config[key]!r:.60} is not supported")
    layers = config.get("num_hidden_layers")
    if type(layers) is not int or layers < 1:
        raise FeatnormError(f"{folder / CONFIG}: num_hidden_layers is {layers!r:.40}")
    return dict(config)


def _architecture(
    config: Mapping[str, Any], folder: Path, card: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the card's architecture with the network that ``config.json`` describes."""
    architecture = copy.deepcopy(dict(card))
    keys = list(_KEYS.items())[: None if config["model_type"] == "wavlm" else -2]
    try:
        network, task = (architecture[part] for part in FAMILIES[config["model_type"]])
        columns = (config["conv_dim"], config["conv_kernel"], config["conv_stride"])
        rows = list(zip(*columns, strict=True))
        for theirs, ours in keys:
            value = config[theirs]
            if type(value) is not type(network[ours]) or (type(value) is int and value < 1):
                raise ValueError(f"{theirs} is {value!r:.40}")
            network[ours] = value
        network["conv_feature_layers"] = repr(rows)
        if rows[-1][0] == network["encoder_embed_dim"]:  # s3prl would have none
            network["post_extract_proj"] = True
        network["extractor_mode"] = _MODES[config["feat_extract_norm"]]
        if config["model_type"] == "hubert":
            network["feat_proj_layer_norm"] = config.get("feat_proj_layer_norm", True)
        # Not do_normalize, which is true by default for models that were trained without.
        task["normalize"] = config["feat_extract_norm"] == "layer"
    except (KeyError, TypeError, ValueError) as error:
        raise FeatnormError(f"{folder / CONFIG} describes no such network: {error!r}") from error
    return architecture


def rename(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights of Hugging Face's names by s3prl's names; s3prl's own names stay.

    What only follows the last layer goes, and a head that it was saved with.
    """
    parts = [(*str(name).partition("."), value) for name, value in weights.items()]
    inner = {rest: value for model, _, rest, value in parts if model in FAMILIES}
    renamed: dict[str, Tensor] = {}
    for theirs, value in (inner or weights).items():
        name = str(theirs)
        if name.startswith("adapter."):
            continue
        for pattern, replacement in _NAMES:
            name = re.sub(pattern, replacement, name)
        renamed[name] = value
    if "feature_extractor.conv_layers.1.2.weight" not in renamed:
        return renamed
    each = r"(\.conv_layers\.\d+\.2)\.(?=weight|bias)"
    return {re.sub(each, r"\1.1.", name): value for name, value in renamed.items()}
