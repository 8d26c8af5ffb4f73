"""One transformer layer of the waveform models, in s3prl's own weights, with less to remember.

s3prl's layers go through ``F.multi_head_attention_forward``. In training with dropout, and
whenever the position bias wants a gradient, torch has no fused kernel behind it on a processor and
keeps several tensors of (batch, heads, frames, frames) a layer. Here two are kept, the attention
weights and the dropout's mask (bytes), the position bias is kept once for all layers and
utterances instead of once for each, and the gradients are written out. Elsewhere, and where torch
has a fused kernel, that is called.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


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
    x = _add_dropped(x, y, layer.dropout1)
    x = x if first else layer.self_attn_layer_norm(x)
    y = layer.final_layer_norm(x) if first else x
    y = layer.fc2(layer.dropout2(_activate(layer, layer.fc1(y))))
    x = _add_dropped(x, y, layer.dropout3)
    x = x if first else layer.final_layer_norm(x)
    return x.transpose(0, 1), position


def _add_dropped(x: Tensor, y: Tensor, dropout: nn.Module) -> Tensor:
    """Return x + dropout(y)."""
    rate = float(dropout.p)  # type: ignore[arg-type]
    if not dropout.training or not rate or y.device.type != "cpu":
        return x + dropout(y)
    return torch.add(x, _masked(y, _kept(y, rate)), alpha=1.0 / (1.0 - rate))


def _kept(x: Tensor, rate: float) -> Tensor:
    """Return bytes of x's shape, 0 at the given rate (to a 65536th) and 1 elsewhere.

    Four of them are had from one random number, which is much of what dropout costs on a processor.
    """
    numbers = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(1 << 63), None)
    bits = numbers.view(torch.int16)[: x.numel()].view(x.shape)
    return (bits >= round(rate * 65536) - 32768).view(torch.uint8)


def _masked(x: Tensor, kept: Tensor | None) -> Tensor:
    """Return x where ``kept`` is 1, else 0. Twice as fast as ``masked_fill``."""
    return x if kept is None else x * kept.to(x.dtype)


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
    """Self-attention on x (T, B, D), with its projections."""
    size, batch, width = x.shape
    heads = attention.num_heads
    q, k, v = (
        projection(x).view(size, batch * heads, -1).transpose(0, 1)
        for projection in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    gate = None
    if position is not None:
        gate = _gate(attention, x) if attention.gru_rel_pos else x.new_ones(batch * heads, size, 1)
    dropout = float(attention.dropout_module.p) if training else 0.0
    # Gradient checkpointing runs a layer first without gradients: with dropout, the same code and
    # so the same random numbers are wanted then.
    unfused = dropout or (position is not None and torch.is_grad_enabled())
    if unfused and x.device.type == "cpu":
        y: Tensor = _Attention.apply(q, k, v, gate, position, mask, dropout)
    else:
        y = _fused(q, k, v, gate, position, mask, dropout)
    return attention.out_proj(y.transpose(0, 1).reshape(size, batch, width))


def _gate(attention: Any, x: Tensor) -> Tensor:
    """WavLM's gate of the position bias, (B * H, T, 1) float32, from x (T, B, D).

    s3prl adds up the outputs of ``grep_linear`` by fours; here its weights are added up first.
    """
    linear = attention.grep_linear
    size, batch, _ = x.shape
    with torch.autocast(x.device.type, enabled=False):
        weight = linear.weight.view(2, 4, -1).sum(1)
        heads = x.float().view(size, batch * attention.num_heads, -1)
        a, b = F.linear(heads, weight, linear.bias.view(2, 4).sum(1)).sigmoid().chunk(2, -1)
        scale = attention.grep_a.view(1, -1, 1).repeat(1, batch, 1)
        return (a * (b * scale - 1.0) + 2.0).transpose(0, 1)


def _bias(
    gate: Tensor | None, position: Tensor | None, mask: Tensor | None, batch: int
) -> Tensor | None:
    """Return what is added to the scores, broadcasting to (B, H, T, T)."""
    bias = None
    if position is not None and gate is not None:
        bias = gate.view(batch, -1, gate.size(1), 1) * position
    if mask is None:
        return bias
    hidden = mask[:, None, None, :]
    if bias is None:
        return torch.zeros_like(hidden, dtype=torch.float32).masked_fill_(hidden, -torch.inf)
    return bias.masked_fill(hidden, -torch.inf)


def _fused(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    gate: Tensor | None,
    position: Tensor | None,
    mask: Tensor | None,
    dropout: float,
) -> Tensor:
    """Torch's own kernel on q, k, v (B * H, T, d)."""
    heads = len(q) if position is None else len(position)
    batch = len(q) // heads if mask is None else len(mask)
    q, k, v = (tensor.unflatten(0, (batch, -1)) for tensor in (q, k, v))
    bias = _bias(gate, position, mask, batch)
    bias = None if bias is None else bias.to(q.dtype)
    return F.scaled_dot_product_attention(q, k, v, bias, dropout).flatten(0, 1)


class _Attention(torch.autograd.Function):
    """softmax(q k' / sqrt(d) + gate * position) v, with dropout of the softmax.

    q, k, v are (B * H, T, d), the gate (B * H, T, 1), the position bias (H, T, T), the mask (B, T).
    """

    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        gate: Tensor | None,
        position: Tensor | None,
        mask: Tensor | None,
        dropout: float,
    ) -> Tensor:
        scale = q.size(-1) ** -0.5
        heads = len(q) if mask is None else len(q) // len(mask)
        heads = heads if position is None else len(position)
        bias = _bias(gate, position, mask, len(q) // heads)
        if bias is None:
            scores = torch.bmm(q, k.transpose(1, 2)).mul_(scale)
        elif gate is not None and bias.dtype == q.dtype:
            scores = bias.flatten(0, 1).baddbmm_(q, k.transpose(1, 2), alpha=scale)
        else:
            products = torch.bmm(q, k.transpose(1, 2)).unflatten(0, (-1, heads))
            scores = torch.add(bias, products, alpha=scale).flatten(0, 1)
        weights = torch.softmax(scores, -1).to(q.dtype)
        del scores, bias
        kept = _kept(weights, dropout) if dropout else None
        y = torch.bmm(_masked(weights, kept), v).mul_(1.0 / (1.0 - dropout))
        ctx.save_for_backward(q, k, v, gate, position, weights, kept, y)
        ctx.scale, ctx.inverse = scale, 1.0 / (1.0 - dropout)
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        q, k, v, gate, position, weights, kept, y = ctx.saved_tensors
        # Of the softmax: what each row's weights and their gradients give together.
        shared = (grad * y).sum(-1, keepdim=True)
        grad = grad * ctx.inverse
        of_scores = torch.bmm(grad, v.transpose(1, 2))
        of_v = torch.bmm(_masked(weights, kept).transpose(1, 2), grad)
        of_scores = _masked(of_scores, kept).sub_(shared).mul_(weights)
        of_q = torch.bmm(of_scores, k).mul_(ctx.scale)
        of_k = torch.bmm(of_scores.transpose(1, 2), q).mul_(ctx.scale)
        of_gate = of_position = None
        if gate is not None:
            of_gate, of_position = _of_bias(of_scores, gate, position)
        return of_q, of_k, of_v, of_gate, of_position, None, None


def _of_bias(of_scores: Tensor, gate: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients of gate (B * H, T, 1) and position (H, T, T), a batch item at a time."""
    heads = len(position)
    of_position = torch.zeros_like(position)
    of_gate = torch.empty_like(gate)
    for start in range(0, len(gate), heads):
        part = of_scores[start : start + heads].to(position.dtype)
        of_position.addcmul_(part, gate[start : start + heads])
        of_gate[start : start + heads] = (part * position).sum(-1, keepdim=True)
    return of_gate, of_position
