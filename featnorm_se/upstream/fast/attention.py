"""One transformer layer of the waveform models, in s3prl's own weights, with less to remember.

s3prl's layers go through ``F.multi_head_attention_forward`` with the position bias once for each
utterance; here torch's kernel gets it gated, and it is kept once for all layers.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def run_layer(
    layer: Any, x: Tensor, mask: Tensor | None, position: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """Run one of s3prl's transformer layers.

    Args:
        layer: s3prl's ``TransformerSentenceEncoderLayer`` of wav2vec 2.0, HuBERT or WavLM.
        x: (B, T, D).
        mask: (B, T) booleans, true in the padding, or ``None``.
        position: WavLM's bias by relative position (H, T, T); ``None``: there is none yet.

    Returns:
        (B, T, D), and the position bias for the next layer.
    """
    attention, x = layer.self_attn, x.transpose(0, 1).contiguous()
    if position is None and getattr(attention, "has_relative_attention_bias", False):
        with x.device:  # s3prl's would make it on the processor, and wait for its copy
            position = attention.compute_bias(len(x), len(x))
    first = layer.layer_norm_first
    y = layer.self_attn_layer_norm(x) if first else x
    y = _attend(attention, y, mask, position, layer.training)
    x = x + layer.dropout1(y)
    x = x if first else layer.self_attn_layer_norm(x)
    y = layer.final_layer_norm(x) if first else x
    y = layer.fc2(layer.dropout2(_activate(layer, layer.fc1(y))))
    x = x + layer.dropout3(y)
    x = x if first else layer.final_layer_norm(x)
    return x.transpose(0, 1), position


def _activate(layer: Any, x: Tensor) -> Tensor:
    name = getattr(layer, "activation_name", "")  # WavLM's
    if name == "gelu":  # s3prl's converts to float32 and back; torch's computes in it anyway
        return F.gelu(x)
    if name == "glu":  # is in fc1 already
        return x
    activated: Tensor = layer.activation_fn(x)
    return activated


def _attend(
    attention: Any, x: Tensor, mask: Tensor | None, position: Tensor | None, training: bool
) -> Tensor:
    """Self-attention on x (T, B, D), with its projections, by torch's own kernel."""
    size, batch, width = x.shape
    q, k, v = (
        projection(x).view(size, batch, attention.num_heads, -1).permute(1, 2, 0, 3)
        for projection in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    bias = None  # what is added to the scores, (B, H, T, T)
    if position is not None:
        bias = _gate(attention, x) * position if attention.gru_rel_pos else position[None]
    if mask is not None:
        bias = q.new_zeros(1) if bias is None else bias
        bias = bias.masked_fill(mask[:, None, None, :], -torch.inf)
    bias = None if bias is None else bias.to(q.dtype)
    dropout = float(attention.dropout_module.p) if training else 0.0
    y = F.scaled_dot_product_attention(q, k, v, bias, dropout)
    return attention.out_proj(y.permute(2, 0, 1, 3).reshape(size, batch, width))


def _gate(attention: Any, x: Tensor) -> Tensor:
    """WavLM's gate of the position bias, (B, H, T, 1) float32, from x (T, B, D).

    s3prl adds up the outputs of ``grep_linear`` by fours; here its weights are added up first.
    """
    linear = attention.grep_linear
    size, batch, _ = x.shape
    with torch.autocast(x.device.type, enabled=False):
        weight = linear.weight.view(2, 4, -1).sum(1)
        heads = x.float().view(size, batch * attention.num_heads, -1)
        a, b = F.linear(heads, weight, linear.bias.view(2, 4).sum(1)).sigmoid().chunk(2, -1)
        scale = attention.grep_a.view(1, -1, 1).repeat(1, batch, 1)
        return (a * (b * scale - 1.0) + 2.0).transpose(0, 1).unflatten(0, (batch, -1))
