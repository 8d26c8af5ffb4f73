"""WavLM (Chen et al. 2022), through ``s3prl.upstream.wavlm.WavLM``."""

from typing import Any

import torch
from torch import Tensor, nn

from featnorm_se.upstream.checkpoint import parse_conv_layers
from featnorm_se.upstream.waveform import WaveformUpstream


class WavLMUpstream(WaveformUpstream):
    """WavLM. The gated relative position bias of layer 1 is handed on to all layers."""

    def run_plain_layer(
        self, layer: nn.Module, x: Tensor, mask: Tensor | None, bias: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Run one layer as s3prl does, with the position bias of the first one."""
        if mask is not None:  # of the position bias's kind, or torch warns
            mask = torch.zeros_like(mask, dtype=torch.float32).masked_fill(mask, -torch.inf)
        out, _, bias = layer(
            x.transpose(0, 1), self_attn_padding_mask=mask, need_weights=False, pos_bias=bias
        )
        return out.transpose(0, 1), bias


def build(architecture: dict[str, Any]) -> WavLMUpstream:
    """Build from ``{"cfg": {...}}``, with random weights."""
    from s3prl.upstream.wavlm.WavLM import WavLM, WavLMConfig

    cfg = dict(architecture["cfg"])
    defaults = vars(WavLMConfig())
    layers = parse_conv_layers(cfg.get("conv_feature_layers", defaults["conv_feature_layers"]))
    cfg["conv_feature_layers"] = repr(layers)
    full = WavLMConfig({k: v for k, v in cfg.items() if k in defaults})
    return WavLMUpstream(WavLM(full), {"cfg": cfg}, layers, bool(full.normalize))


def read(states: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Take architecture and weights out of ``{"cfg", "model"}``."""
    return {"cfg": states["cfg"]}, states["model"]
