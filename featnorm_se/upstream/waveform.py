"""What wav2vec 2.0, HuBERT and WavLM have in common: convolutions, then a transformer."""

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from featnorm_se.names import site_names
from featnorm_se.upstream import fast
from featnorm_se.upstream.base import Count, Steps, Upstream
from featnorm_se.upstream.batching import check_batch, padding_mask


class WaveformUpstream(Upstream):
    """wav2vec 2.0, HuBERT or WavLM: ``self.model`` is s3prl's module of that name.

    Sites: ``frontend`` is the output of the convolutions before their layer norm, ``projection``
    the input of the first layer (s3prl's ``hidden_states[0]``, after the positions are added) and
    ``layer.K`` the output of layer K (``hidden_states[K]``; the last one, in models that
    normalize first, after the closing layer norm, as in s3prl).
    """

    def __init__(
        self,
        model: Any,
        config: dict[str, Any],
        conv_layers: list[tuple[int, int, int]],
        normalize: bool,
    ) -> None:
        super().__init__(model, config)
        self.conv_layers = conv_layers
        network = config.get("model_cfg") or config["cfg"]
        if network.get("post_extract_proj"):  # Hugging Face's models always have one
            model.post_extract_proj = nn.Linear(conv_layers[-1][0], model.encoder.embedding_dim)
        self.normalize = normalize
        self.hop = 1
        for _, kernel, stride in reversed(conv_layers):
            self.shortest = (self.shortest - 1) * stride + kernel
            self.hop *= stride
        self.offset = self.shortest // 2
        self.width = model.encoder.embedding_dim
        self.num_layers = len(model.encoder.layers)
        self.sites = dict.fromkeys(site_names(self.num_layers), self.width)
        self.sites["frontend"] = conv_layers[-1][0]
        modules = model.feature_extractor.modules()
        self.group_norm = any(isinstance(module, nn.GroupNorm) for module in modules)

    def count_frames(self, samples: Count) -> Count:
        """n -> floor((n - kernel) / stride) + 1 through each convolution.

        For the usual stack this is floor((n - 400) / 320) + 1.
        """
        for _, kernel, stride in self.conv_layers:
            samples = (samples - kernel) // stride + 1
        return samples

    def walk(self, wav: Tensor, wav_lengths: Tensor) -> Steps:
        """Yield the sites; see ``Upstream.walk``."""
        model, encoder = self.model, self.model.encoder
        wav, counts = check_batch(wav, wav_lengths, self.shortest)
        lengths = self.frames(wav_lengths)
        x = self._convolve(self._normalized(wav, counts), counts)
        ragged = self.frames(min(counts)) < x.size(1)
        mask = padding_mask(lengths, x.size(1), x.device) if ragged else None
        x = yield "frontend", x, lengths
        x = model.layer_norm(x)
        if model.post_extract_proj is not None:
            x = model.post_extract_proj(x)
        x = model.dropout_input(x)
        if mask is not None:
            x = x.masked_fill(mask.unsqueeze(-1), 0.0)
        x = x + self._positions(x)
        if not encoder.layer_norm_first:
            x = encoder.layer_norm(x)
        x = yield "projection", x, lengths
        x = F.dropout(x, p=encoder.dropout, training=model.training)
        bias, run = None, self.run_plain_layer
        if self.fast:
            run = partial(fast.run_layer, spare=self._spare(x))
        for number, layer in enumerate(encoder.layers, start=1):
            x, bias = self.run_part(run, layer, x, mask, bias)
            if number == self.num_layers and encoder.layer_norm_first:
                x = encoder.layer_norm(x)
            x = yield f"layer.{number}", x, lengths

    def run_plain_layer(
        self, layer: nn.Module, x: Tensor, mask: Tensor | None, bias: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Run one layer on x (B, T, D) as s3prl does; the mask (B, T) is true in the padding.

        What comes back beside x is the position bias, of WavLM only, which the next layer takes.
        """
        out, _ = layer(x.transpose(0, 1), self_attn_padding_mask=mask, need_weights=False)
        return out.transpose(0, 1), None

    def _normalized(self, wav: Tensor, counts: list[int]) -> Tensor:
        """Bring each utterance of wav (B, N) to mean 0 and variance 1, if the model wants that."""
        if not self.normalize:
            return wav
        if min(counts) == wav.size(1):
            return F.layer_norm(wav, wav.shape[1:])
        rows = [F.layer_norm(row[:n], (n,)) for row, n in zip(wav, counts, strict=True)]
        return torch.stack([F.pad(row, (0, wav.size(1) - len(row))) for row in rows])

    def _convolve(self, wav: Tensor, counts: list[int]) -> Tensor:
        """Run the convolutional encoder on wav (B, N) with ``counts`` valid samples: (B, T, C).

        A group norm takes its statistics over the padding too, so there s3prl's modules get each
        utterance of a ragged batch alone. Gradient checkpointing takes one at a time as well, so
        that only one's features are in memory when their gradients are computed.
        """
        extractor = self.model.feature_extractor
        sizes = [max(n, self.shortest) for n in counts]
        recompute = self.recomputes() and any(p.requires_grad for p in extractor.parameters())
        cut = self.group_norm and not self._fast_convolutions() and min(sizes) < wav.size(1)
        if not (cut or recompute):
            return self._encode(wav, sizes)
        pairs = zip(wav, sizes, strict=True)
        rows = [self.run_part(self._encode, row[None, :n], [n])[0] for row, n in pairs]
        return pad_sequence(rows, batch_first=True)

    def _encode(self, wav: Tensor, sizes: list[int]) -> Tensor:
        """Run the convolutions on all of wav (B, N); a group norm looks at ``sizes`` samples."""
        extractor = self.model.feature_extractor
        if self._fast_convolutions():
            return fast.encode(extractor, wav, sizes, self._spare(wav))
        x: Tensor = extractor(wav)
        return x.transpose(1, 2)

    def _spare(self, x: Tensor) -> bool:
        """Whether memory is worth a little time: on a GPU, and not where all is made again."""
        return x.device.type != "cpu" and not self.recomputes()

    def _fast_convolutions(self) -> bool:
        return self.fast and all(kernel >= stride for _, kernel, stride in self.conv_layers)

    def _positions(self, x: Tensor) -> Tensor:
        """Run the positional convolution on x (B, T, D).

        On a GPU by Fourier transforms: a third of cuDNN's time (WavLM Base, 16 utterances of 4 s,
        H100). On a CPU not in bfloat16 where the groups are narrow: there oneDNN's result
        was wrong on one with AMX (torch 2.11, 8 channels a group).
        """
        conv = self.model.encoder.pos_conv
        grouped = next(m for m in conv.modules() if isinstance(m, nn.Conv1d))
        if x.device.type == "cpu" and grouped.in_channels // grouped.groups >= 16:
            y: Tensor = conv(x.transpose(1, 2))
        else:
            with torch.autocast(x.device.type, enabled=False):
                rows = x.transpose(1, 2).float()
                by_fourier = self.fast and x.device.type != "cpu" and conv[0] is grouped
                y = conv[1:](fast.convolve(grouped, rows)) if by_fourier else conv(rows)
        return y.transpose(1, 2)

    def cnn_parts(self) -> list[nn.Module]:
        """The feature extractor; not the layer norm and the projection behind it."""
        return [self.model.feature_extractor]

    def dropouts(self) -> list[tuple[Any, str]]:
        """The layers', and that of the transformer's input."""
        places = [(self.model.dropout_input, "p"), (self.model.encoder, "dropout")]
        for layer in self.model.encoder.layers:
            for holder in (layer.dropout1, layer.dropout3, layer.self_attn.dropout_module):
                places.append((holder, "p"))
        return places
