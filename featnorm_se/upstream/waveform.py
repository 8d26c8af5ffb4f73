"""What wav2vec 2.0, HuBERT and WavLM have in common: convolutions, then a transformer."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from featnorm_se.errors import FeatnormError
from featnorm_se.upstream import attention, convolutions, masking
from featnorm_se.upstream.base import Count, Steps, Upstream
from featnorm_se.upstream.convolutions import ConvLayers
from featnorm_se.upstream.layers import call_layer, give_memory_back, recomputed
from featnorm_se.upstream.padding import check_batch, pad_frames, padding_mask


def parse_conv_layers(text: str) -> ConvLayers:
    """Read ``[(512,10,5)] + [(512,3,2)] * 4`` without running it.

    s3prl evaluates this string of the checkpoint as Python, so it must be known to be no more
    than a list before s3prl sees it.

    Returns:
        (channels, kernel, stride) of each layer.

    Raises:
        FeatnormError: the string is anything else.
    """

    def value(node: ast.AST) -> Any:
        match node:
            case ast.Constant(value=int(number)) if not isinstance(number, bool):
                return number
            case ast.Tuple(elts=items) | ast.List(elts=items):
                built = [value(item) for item in items]
                return tuple(built) if isinstance(node, ast.Tuple) else built
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return [*value(left), *value(right)]
            case ast.BinOp(left=left, op=ast.Mult(), right=right):
                many, times = value(left), value(right)
                if isinstance(many, list) and isinstance(times, int) and 0 < len(many) * times < 64:
                    return many * times
        raise ValueError("not a list of layers")

    try:
        layers = value(ast.parse(text.strip(), mode="eval").body)
        if not layers or any(len(layer) != 3 or min(layer) < 1 for layer in layers):
            raise ValueError("not (channels, kernel, stride)")
        return [(layer[0], layer[1], layer[2]) for layer in layers]
    except (ValueError, TypeError, SyntaxError, AttributeError, RecursionError) as error:
        raise FeatnormError(
            f"conv_feature_layers of the upstream is no list of (channels, kernel, stride):"
            f" {str(text)[:80]!r}"
        ) from error


class WaveformUpstream(Upstream):
    """Base of the three families. ``self.model`` is s3prl's model (not its expert).

    Sites: ``frontend`` is the convolutional encoder's output before its layer norm,
    ``projection`` the input of the first transformer layer (s3prl's ``hidden_states[0]``) and
    ``layer.K`` the output of layer K (``hidden_states[K]``; the last one, in models that
    normalize first, after the closing layer norm, as in s3prl).
    """

    def __init__(
        self, model: Any, config: dict[str, Any], conv_layers: ConvLayers, normalize: bool
    ) -> None:
        super().__init__(model, config)
        self.conv_layers = conv_layers
        self.normalize = normalize
        self.hop = 1
        self.shortest = 1
        for _, kernel, stride in reversed(conv_layers):
            self.shortest = (self.shortest - 1) * stride + kernel
        for _, _, stride in conv_layers:
            self.hop *= stride
        self.offset = self.shortest // 2
        self.width = model.encoder.embedding_dim
        self.num_layers = len(model.encoder.layers)
        self.sites = {"frontend": conv_layers[-1][0], "projection": self.width}
        self.sites |= {f"layer.{k + 1}": self.width for k in range(self.num_layers)}
        self.group_norm = any(
            isinstance(m, nn.GroupNorm) for m in model.feature_extractor.modules()
        )
        # (mean, variance), (B, C) each, for the first convolution's group norm to use instead of
        # its input's own, as when that is a part of a file (see ``whole_file.py``).
        self.given_first: tuple[Tensor, Tensor] | None = None
        self._convolutions_fit = convolutions.fits(model.feature_extractor, conv_layers)
        self._own_dropout = [p for p, _ in self._dropouts()]

    def frames(self, samples: Count) -> Count:
        """Frames of ``samples``: n -> floor((n - kernel) / stride) + 1 through each convolution.

        For the usual stack this is floor((n - 400) / 320) + 1. Less than one receptive field
        (400 samples) is padded up to it, hence one frame.
        """
        if isinstance(samples, Tensor):
            count = samples.clamp(min=self.shortest)
        else:
            count = max(samples, self.shortest)
        for _, kernel, stride in self.conv_layers:
            count = (count - kernel) // stride + 1
        return count

    def walk(self, wav: Tensor, wav_lengths: Tensor) -> Steps:
        """Yield the sites; see ``Upstream.walk``."""
        wav_lengths = wav_lengths.to(wav.device)
        model, encoder = self.model, self.model.encoder
        x, lengths, mask = self._encode(wav, wav_lengths)
        x = yield "frontend", x, lengths
        x = model.layer_norm(x)
        if model.post_extract_proj is not None:
            x = model.post_extract_proj(x)
        x = model.dropout_input(x)
        if self.spec_augment and model.training:
            x = self._augment(x, mask)
        size = x.size(1)
        if mask is not None:
            x = x.masked_fill(mask.unsqueeze(-1), 0.0)
        x = x + self._positions(x)
        if not encoder.layer_norm_first:
            x = encoder.layer_norm(x)
        x = yield "projection", x, lengths
        padded = -(-size // self._multiple()) * self._multiple()
        mask = self._attention_mask(mask, x, padded)
        x = F.dropout(pad_frames(x, padded), p=encoder.dropout, training=model.training)
        bias = None
        for number, layer in enumerate(encoder.layers, start=1):
            last = number == self.num_layers
            x, bias = call_layer(self, layer, pad_frames(x, padded), mask, bias, last=last)
            x = x[:, :size]
            if last and encoder.layer_norm_first:
                x = encoder.layer_norm(x)
            x = yield f"layer.{number}", x, lengths

    def _positions(self, x: Tensor) -> Tensor:
        """Run the positional convolution on x (B, T, D).

        Not in bfloat16 on a GPU, where cuDNN took 31 ms for what takes it less than 6 in float32
        (WavLM Base, 16 utterances of 4 s, H100), nor on a processor where the groups are narrow:
        there oneDNN's result was wrong on one with AMX (torch 2.11, 8 channels a group).
        """
        conv = self.model.encoder.pos_conv
        grouped = next(m for m in conv.modules() if isinstance(m, nn.Conv1d))
        if x.device.type == "cpu" and grouped.in_channels // grouped.groups >= 16:
            y: Tensor = conv(x.transpose(1, 2))
        else:
            with torch.autocast(x.device.type, enabled=False):
                y = conv(x.transpose(1, 2).float())
        return y.transpose(1, 2)

    def run_layer(
        self, layer: nn.Module, x: Tensor, mask: Tensor | None, bias: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Run one transformer layer on x (B, T, D); see ``Upstream.configure`` for ``fast``."""
        if self.fast:
            out, bias = attention.run_layer(layer, x.transpose(0, 1), mask, bias)
            return out.transpose(0, 1), bias
        return self.run_plain_layer(layer, x, mask, bias)

    def run_plain_layer(
        self, layer: nn.Module, x: Tensor, mask: Tensor | None, bias: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Run one transformer layer on x (B, T, D) as s3prl does."""
        out, _ = layer(x.transpose(0, 1), self_attn_padding_mask=mask, need_weights=False)
        return out.transpose(0, 1), None

    def droppable(self, layer: nn.Module) -> bool:
        """Whether layer drop may leave this layer out."""
        return True

    def _encode(self, wav: Tensor, wav_lengths: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Run the convolutions; return (B, T, C), valid frames and the padding mask."""
        wav, counts = check_batch(wav, wav_lengths, self.shortest)
        if self.normalize:
            rows = [F.layer_norm(row[:n], (n,)) for row, n in zip(wav, counts, strict=True)]
            wav = pad_frames(pad_sequence(rows, batch_first=True).unsqueeze(-1), wav.size(1))
            wav = wav.squeeze(-1)
        x = self.convolve(wav, wav_lengths)
        lengths = self.frames(wav_lengths).to(x.device)
        if self.fast and self.padding == "exact" and min(counts) == wav.size(1):
            return x, lengths, None
        mask = self._padding_mask(x, wav, wav_lengths, lengths)
        if mask is not None and self.padding == "s3prl":
            lengths = (~mask).sum(1)
        return x, lengths, mask

    def convolve(self, wav: Tensor, wav_lengths: Tensor) -> Tensor:
        """Run the convolutions on waveforms (B, N) at the model's level; return (B, T, C).

        With group norm the statistics run over the padding too, so there s3prl's own get each
        utterance of a ragged batch alone. Gradient checkpointing takes one at a time as well, so
        that only one's features are in memory when their gradients are computed.
        """
        size, exact = wav.size(1), self.padding == "exact"
        sizes = wav_lengths.clamp(min=self.shortest, max=size)
        ours = self.fast and self._convolutions_fit
        cut = exact and self.group_norm and not ours and int(sizes.min()) < size
        normed = sizes if exact else torch.full_like(sizes, size)
        trained = [p for p in self.model.feature_extractor.parameters() if p.requires_grad]
        checkpointing = self.gradient_checkpointing and self.model.training
        recompute = checkpointing and torch.is_grad_enabled() and bool(trained)
        if not (cut or recompute):
            return self._convolve(normed, self.given_first, wav)
        if recompute and wav.device.type == "cpu":
            give_memory_back()  # of the last step's gradients, whose places nothing here fits
        parts = []
        for row, valid in enumerate(sizes.tolist()):
            one = slice(row, row + 1)
            given = self.given_first and (self.given_first[0][one], self.given_first[1][one])
            run = partial(self._convolve, normed[one], given)
            part = wav[one, : valid if cut else size]
            if recompute:
                # The last comes first in the gradients: the step's peak, all weights' gradients
                # and the widest tensors together.
                last = row == len(sizes) - 1
                parts.append(recomputed(run, [part], trained, trim=last))
            else:
                parts.append(run(part))
        return pad_sequence([part[0] for part in parts], batch_first=True)

    def _convolve(self, normed: Tensor, given: tuple[Tensor, Tensor] | None, wav: Tensor) -> Tensor:
        """Run the convolutions on all of wav (B, N); see ``convolutions.encode``."""
        extract = self.model.feature_extractor
        if self.fast and self._convolutions_fit:
            return convolutions.encode(extract, wav, normed, given)
        x: Tensor = extract(wav).transpose(1, 2)
        return x

    def _padding_mask(
        self, x: Tensor, wav: Tensor, wav_lengths: Tensor, lengths: Tensor
    ) -> Tensor | None:
        """(B, T) booleans, true in the padding, as the model's attention is to get it."""
        if self.padding == "s3prl":
            return self.model.forward_padding_mask(x, padding_mask(wav_lengths, wav.size(1)))
        return padding_mask(lengths, x.size(1))

    def _multiple(self) -> int:
        return int(getattr(self.model.encoder, "required_seq_len_multiple", 1))

    @staticmethod
    def _attention_mask(mask: Tensor | None, x: Tensor, padded: int) -> Tensor | None:
        if mask is None and padded > x.size(1):
            mask = torch.zeros(x.shape[:2], dtype=torch.bool, device=x.device)
        return None if mask is None else F.pad(mask, (0, padded - mask.size(1)), value=True)

    def _augment(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Mask spans of time and bands of channels by the model's own ``apply_mask``."""
        model = self.model
        # mask_emb stays in the graph even when the utterance is too short to be masked.
        x = x + 0.0 * model.mask_emb
        frames = x.size(1) if mask is None else int((~mask).sum(1).min())
        if frames < 4 * masking.TIME_MASK_FRAMES:
            return x
        model.mask_prob, model.mask_length = masking.TIME_MASK_RATE, masking.TIME_MASK_FRAMES
        model.mask_channel_prob = masking.CHANNEL_MASK_RATE
        # Narrow models get narrower bands: less than one band on average would stop s3prl.
        bands = max(1, int(masking.CHANNEL_MASK_RATE * self.width))
        model.mask_channel_length = min(masking.CHANNEL_MASK_WIDTH, bands)
        return self.apply_mask(x, mask)

    def apply_mask(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Call s3prl's masking on x (B, T, D)."""
        return self.model.apply_mask(x, mask)[0]

    def cnn_parts(self) -> list[nn.Module]:
        """The feature extractor; not the layer norm and the projection behind it."""
        return [self.model.feature_extractor]

    def unused_parameters(self) -> list[nn.Parameter]:
        """``mask_emb`` and all that only pre-training uses."""
        used = {"feature_extractor", "layer_norm", "post_extract_proj", "encoder"}
        if self.spec_augment:
            used.add("mask_emb")
        return [p for n, p in self.model.named_parameters() if n.split(".")[0] not in used]

    def _dropouts(self) -> Iterator[tuple[float, Any]]:
        """Current rate and holder of each dropout of hidden states and attention."""
        for layer in self.model.encoder.layers:
            for holder in (layer.dropout1, layer.dropout3, layer.self_attn.dropout_module):
                yield holder.p, holder
        yield self.model.dropout_input.p, self.model.dropout_input
        yield self.model.encoder.dropout, self.model.encoder

    def set_dropout(self, dropout: float | None) -> None:
        """Set the dropout of hidden states, attention and the transformer's input."""
        own = self._own_dropout
        for rate, (_, holder) in zip(own, list(self._dropouts()), strict=True):
            name = "dropout" if holder is self.model.encoder else "p"
            setattr(holder, name, rate if dropout is None else dropout)
