"""Our own arithmetic on s3prl's weights: the waveform models' numbers, to rounding, in less time.

The plain path is s3prl's own modules; ``Upstream.configure(fast=...)`` chooses, and
``waveform.py`` asks here for three things only: the output of the convolutions (``encode``), of
the positional one (``convolve``) and of a transformer layer (``run_layer``).

Convolutions are matrix products over (frames, channels). One of stride s reads its input in rows
of s frames: output t is row t times the first s taps, plus row t + 1 times the next s taps, and so
on. So with frames before channels it is one or two plain matrix products over all utterances at
once, and so are its gradients, without a copy of the windows. The group norm of the first
convolution is folded into its weights: the mean and deviation of its output follow from those of
the windows of the signal, which are ten numbers each, so the widest tensor of the model is made
once and never read for statistics.

s3prl's layers go through ``F.multi_head_attention_forward`` with the position bias once for each
utterance; here torch's kernel gets it gated.

Where memory is scarce (``spare``), what a product or two can make again is not kept for the
gradients: the gated position bias, weights in bfloat16, the norms between the convolutions, GELU.
"""

import math
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from featnorm_se.upstream.base import Make, made_again
from featnorm_se.upstream.batching import valid_frames
from featnorm_se.upstream.precision import product_type

# Rows of what is added to the scores begin at multiples of it, or torch's kernel would copy them.
_ALIGNED = 16


def encode(extractor: nn.Module, wav: Tensor, sizes: list[int], spare: bool = False) -> Tensor:
    """Return what the feature extractor gives, frames before channels.

    It follows the blocks that s3prl builds: a convolution, a dropout of nothing, a group norm
    (first block) or a layer norm over channels or neither, and GELU.

    Args:
        extractor: s3prl's ``ConvFeatureExtractionModel``, no kernel shorter than its stride.
        wav: (B, N) samples, at least one receptive field.
        sizes: samples of each utterance over which a group norm takes its statistics, at least
            one receptive field.
        spare: keep less for the gradients.

    Returns:
        (B, T, C) with T the frames of N samples. In float32, or in autocast's type where that is
        on; the first convolution and its norm are computed in float32 all the same.
    """
    blocks: Any = extractor.conv_layers
    frames, rows = wav.size(1), math.prod(block[0].stride[0] for block in blocks[1:])
    for block in blocks:
        frames = (frames - block[0].kernel_size[0]) // block[0].stride[0] + 1
    kernel, stride = blocks[0][0].kernel_size[0], blocks[0][0].stride[0]
    # Whole rows for every layer: frames past the last window see zeros, and nobody sees them.
    whole = -(-((wav.size(1) - kernel) // stride + 1) // rows) * rows
    wav = F.pad(wav, (0, max((whole - 1) * stride + kernel - wav.size(1), 0)))
    windows = wav.unfold(1, kernel, stride)[:, :whole]
    counts = [(size - kernel) // stride + 1 for size in sizes]
    dtype = product_type(wav)
    with torch.autocast(wav.device.type, enabled=False):
        x = _first_block(blocks[0], windows, counts).flatten(0, 1)
        for below, block in zip(blocks, blocks[1:], strict=False):
            make = partial(_layer_norm, below, x, dtype, spare)
            x = make()
            with made_again(spare and isinstance(below[2], nn.Sequential), (x, make)):
                x = _block(block[0], x)
        x = _layer_norm(blocks[-1], x, dtype, spare).unflatten(0, (len(wav), -1))
        return F.gelu(x[:, :frames])


def _first_block(block: Any, windows: Tensor, counts: list[int]) -> Tensor:
    """Run the first convolution on windows (B, T, kernel), with its group norm; return (B, T, C).

    Only the first ``counts`` windows of each utterance are normalized over.
    """
    conv = block[0]
    taps = conv.weight.squeeze(1)
    norm = block[2] if isinstance(block[2], nn.GroupNorm) else None
    if norm is None:
        return F.linear(windows, taps, conv.bias)
    bias = 0.0 if conv.bias is None else conv.bias.double()
    mean, covariance = _moments(windows, counts)
    centre = mean @ taps.double().t() + bias
    spread = ((taps.double() @ covariance) * taps.double()).sum(-1)
    scale = norm.weight.double() * (spread + norm.eps).rsqrt()
    shift = norm.bias.double() + scale * (bias - centre)
    weights = torch.cat([taps.t() * scale.unsqueeze(1), shift.unsqueeze(1)], dim=1)
    return torch.bmm(F.pad(windows, (0, 1), value=1.0), weights.to(windows.dtype))


def _moments(windows: Tensor, counts: list[int]) -> tuple[Tensor, Tensor]:
    """Return mean (B, k) and covariance (B, k, k), float64, of so many windows of each."""
    x = windows[:, : max(counts)].double()
    inside, total = valid_frames(torch.tensor(counts), x.size(1), x.device)
    mean = (x * inside).sum(1, keepdim=True) / total
    x = (x - mean) * inside
    return mean.squeeze(1), x.transpose(1, 2) @ x / total


def _block(conv: Any, x: Tensor) -> Tensor:
    """Run the GELU of the block below and a convolution on rows (R, C)."""
    weight = conv.weight.to(x.dtype).permute(2, 1, 0).flatten(0, 1)
    bias = None if conv.bias is None else conv.bias.to(x.dtype)
    y: Tensor = _StridedProduct.apply(x, weight, bias, conv.stride[0])
    return y


def _layer_norm(block: Any, x: Tensor, dtype: torch.dtype, spare: bool) -> Tensor:
    """Apply the block's layer norm over channels, in float32 as s3prl does, if it has one."""
    if not isinstance(block[2], nn.Sequential):
        return x.to(dtype)
    norm: Any = block[2][1]
    exact = x.float()
    with made_again(spare, (exact, x.float)):
        y = F.layer_norm(exact, norm.normalized_shape, norm.weight, norm.bias, norm.eps)
    return y.to(dtype)


class _StridedProduct(torch.autograd.Function):
    """GELU of frames (R * s, C), then a convolution with weights (k * C, D): rows (R, D).

    Weights are ordered tap by tap. The last ceil(k / s) - 1 rows lack part of their window. Only
    what comes before the GELU is kept for the gradients: computing it again costs less than the
    memory, and what it takes is used again for the gradient.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.biased = stride, bias is not None
        wide = F.gelu(x).view(len(x) // stride, -1)
        parts = weight.split(wide.size(1))
        y = torch.mm(wide, parts[0]) if bias is None else torch.addmm(bias, wide, parts[0])
        for late, part in enumerate(parts[1:], start=1):
            y[:-late].addmm_(wide[late:, : len(part)], part)
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, weight = ctx.saved_tensors
        grad = grad.contiguous()
        wide = F.gelu(x).view(len(x) // ctx.stride, -1)
        parts = weight.split(wide.size(1))
        of_x = of_weight = of_bias = None
        if ctx.needs_input_grad[1]:
            products = [wide.t() @ grad]
            for late, part in enumerate(parts[1:], start=1):
                products.append(wide[late:, : len(part)].t() @ grad[:-late])
            of_weight = torch.cat(products)
        if ctx.needs_input_grad[2] and ctx.biased:
            of_bias = grad.sum(0)
        if ctx.needs_input_grad[0]:
            torch.mm(grad, parts[0].t(), out=wide)
            for late, part in enumerate(parts[1:], start=1):
                wide[late:, : len(part)].addmm_(grad[:-late], part.t())
            of_x = wide.view_as(x)
            torch.ops.aten.gelu_backward.grad_input(of_x, x, grad_input=of_x)
        return of_x, of_weight, of_bias, None


def convolve(conv: nn.Conv1d, x: Tensor) -> Tensor:
    """Run a grouped convolution of stride 1 as a product of Fourier transforms.

    Args:
        conv: its hooks, such as weight norm's, are called.
        x: (B, C, T) float32.

    Returns:
        (B, C', T + 2 P - K + 1) for kernels of K and a padding of P on either side.
    """
    from scipy.fft import next_fast_len

    for hook in conv._forward_pre_hooks.values():
        hook(conv, (x,))
    kernel, padding = conv.kernel_size[0], int(conv.padding[0])
    size = int(next_fast_len(x.size(-1) + kernel - 1, real=True))
    signal = torch.fft.rfft(x, size).unflatten(1, (conv.groups, -1))
    taps = torch.fft.rfft(conv.weight, size).unflatten(0, (conv.groups, -1)).conj()
    # For each frequency and group a matrix product over the group's channels.
    product = torch.einsum("bgif,goif->bgof", signal, taps).flatten(1, 2)
    y = torch.fft.irfft(product, size).roll(padding, -1)
    y = y[..., : x.size(-1) + 2 * padding - kernel + 1]
    return y if conv.bias is None else y + conv.bias[:, None]


def run_layer(
    layer: Any, x: Tensor, mask: Tensor | None, position: Tensor | None, spare: bool = False
) -> tuple[Tensor, Tensor | None]:
    """Run one of s3prl's transformer layers.

    Args:
        layer: s3prl's ``TransformerSentenceEncoderLayer`` of wav2vec 2.0, HuBERT or WavLM.
        x: (B, T, D).
        mask: (B, T) booleans, true in the padding, or ``None``.
        position: WavLM's bias by relative position (H, T, T and what aligns it); ``None``: there
            is none yet.
        spare: keep less for the gradients.

    Returns:
        (B, T, D), and the position bias for the next layer.
    """
    attention = layer.self_attn
    if position is None and getattr(attention, "has_relative_attention_bias", False):
        with x.device:  # s3prl's would make it on the CPU, and wait for its copy
            position = attention.compute_bias(x.size(1), x.size(1))
        position = F.pad(position, (0, -x.size(1) % _ALIGNED)).contiguous()  # heads are innermost
    first = layer.layer_norm_first
    y = layer.self_attn_layer_norm(x) if first else x
    y = _attend(attention, y, mask, position, spare)
    x = x + layer.dropout1(y)
    x = x if first else layer.self_attn_layer_norm(x)
    y = layer.final_layer_norm(x) if first else x
    x = x + layer.dropout3(_feed_forward(layer, y, spare))
    x = x if first else layer.final_layer_norm(x)
    return x, position


def _product(linear: Any, x: Tensor, spare: bool, *pairs: tuple[Tensor, Make]) -> Tensor:
    """Run a linear layer in the type of x; for the pairs, see ``made_again``."""
    weight = linear.weight.to(x.dtype)
    with made_again(spare, (weight, partial(linear.weight.to, x.dtype)), *pairs):
        return F.linear(x, weight, linear.bias)


def _feed_forward(layer: Any, x: Tensor, spare: bool) -> Tensor:
    """Run the two products of a layer on x (B, T, D).

    To make GELU again takes a CPU a twentieth longer, in bfloat16 a fifth.
    """
    function = layer.activation_fn
    name = getattr(layer, "activation_name", getattr(function, "__name__", ""))
    x = _product(layer.fc1, x.to(product_type(x)), spare)
    # s3prl's GELU converts to float32 and back; torch's computes in it anyway.
    make = partial(F.gelu if name == "gelu" else function, x)
    y = make()  # dropout's output is another tensor, which is kept
    return _product(layer.fc2, layer.dropout2(y), spare, (y, make))


def _attend(
    attention: Any, x: Tensor, mask: Tensor | None, position: Tensor | None, spare: bool
) -> Tensor:
    """Self-attention on x (B, T, D), with its projections, by torch's own kernel."""
    cast = x.to(product_type(x))  # once, and not once for each of the three
    q, k, v = (
        _product(projection, cast, spare).unflatten(-1, (attention.num_heads, -1)).transpose(1, 2)
        for projection in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    gated = position is not None and attention.gru_rel_pos
    gate = _gate(attention, cast, spare) if gated else None
    bias, dropout = None, float(attention.dropout_module.p) if attention.training else 0.0
    pairs: list[tuple[Tensor, Make]] = []
    if position is not None or mask is not None:
        make = partial(_bias, gate, position, mask, q)
        pairs = [(make(), make)]
        bias = pairs[0][0][..., : x.size(1)]
    with made_again(spare, *pairs):
        y = F.scaled_dot_product_attention(q, k, v, bias, dropout)
    return _product(attention.out_proj, y.transpose(1, 2).flatten(2), spare)


def _bias(gate: Tensor | None, position: Tensor | None, mask: Tensor | None, q: Tensor) -> Tensor:
    """Return what is added to the scores of the queries q (B, H, T, d), in rows of T', aligned."""
    bias = q.new_zeros(1) if position is None else position
    bias = bias if gate is None else gate * bias
    if mask is not None:
        mask = F.pad(mask, (0, -q.size(2) % _ALIGNED), value=True)
        bias = bias.masked_fill(mask[:, None, None, :], -torch.inf)
    return bias.to(q.dtype)


def _gate(attention: Any, x: Tensor, spare: bool) -> Tensor:
    """WavLM's gate of the position bias, (B, H, T, 1) float32, from x (B, T, D).

    s3prl adds up the outputs of ``grep_linear`` by fours; here its weights are added up first.
    """
    linear = attention.grep_linear
    with torch.autocast(x.device.type, enabled=False):
        weight = linear.weight.view(2, 4, -1).sum(1)
        exact = x.float()
        with made_again(spare, (exact, x.float)):
            heads = exact.unflatten(-1, (attention.num_heads, -1))
            found = F.linear(heads, weight, linear.bias.view(2, 4).sum(1))
        a, b = found.sigmoid().transpose(1, 2).chunk(2, -1)
        return a * (b * attention.grep_a - 1.0) + 2.0
