"""Mockingjay and TERA (Liu et al. 2020, 2021), through ``s3prl.upstream.mockingjay``.

The two share one architecture: log-mels on the fly, then a transformer; they differ in how they
were pre-trained.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from featnorm_se.errors import FeatnormError
from featnorm_se.upstream import masking
from featnorm_se.upstream.base import Count, Steps, Upstream
from featnorm_se.upstream.layers import call_layer
from featnorm_se.upstream.logmel import LogMel
from featnorm_se.upstream.padding import check_batch, padding_mask
from featnorm_se.upstream.pieces import Pieces, piece_frames


@lru_cache(maxsize=8)
@torch.inference_mode(False)
def sinusoids(frames: int, width: int) -> Tensor:
    """Return the sinusoidal positions (frames, width) of Vaswani et al. (2017), section 3.5.

    s3prl builds a table of 24,000 rows in a Python loop, which takes half a minute; the values
    are the same.
    """
    channel = torch.arange(width, dtype=torch.float64)
    rate = 10000.0 ** (2.0 * torch.div(channel, 2, rounding_mode="floor") / width)
    angle = torch.arange(frames, dtype=torch.float64).unsqueeze(1) / rate
    angle[:, 0::2] = angle[:, 0::2].sin()
    angle[:, 1::2] = angle[:, 1::2].cos()
    return angle.float()


class MelUpstream(Upstream):
    """Mockingjay or TERA: ``self.model`` is s3prl's TransformerModel.

    Sites: ``frontend`` is the log-mels (normalized per utterance when the audio configuration
    says ``cmvn``), ``projection`` the input of the first layer (s3prl's ``hidden_states[0]``)
    and ``layer.K`` the output of layer K. Utterances longer than ``task.sequence_length`` frames
    go through the transformer in equal pieces, as s3prl does.
    """

    def __init__(self, family: str, model: Any, config: dict[str, Any], mel: LogMel) -> None:
        super().__init__(model, config)
        self.family = self.name = family
        self.mel = mel
        self.hop, self.offset, self.shortest = mel.hop, 0, mel.shortest
        self.width = model.config.hidden_size
        self.num_layers = model.config.num_hidden_layers
        self.longest = int(config["task"]["sequence_length"])
        self.sites = {"frontend": mel.width, "projection": self.width}
        self.sites |= {f"layer.{k + 1}": self.width for k in range(self.num_layers)}
        self.lowest_site = "projection" if mel.cmvn else "frontend"
        self._own_dropout = [holder.p for holder in self._dropouts()]

    def frames(self, samples: Count) -> Count:
        """Frames of ``samples``: floor(n / 160) + 1, since the frames are centred on 0, 160, ...

        Reflecting at the edges needs more than half a window: under 201 samples counts as 201.
        """
        if isinstance(samples, Tensor):
            return samples.clamp(min=self.shortest) // self.hop + 1
        return max(samples, self.shortest) // self.hop + 1

    def piece(self, samples: int) -> int:
        """Samples of the pieces that an utterance goes through in; 0: it goes as a whole."""
        frames = self.frames(samples)
        if self.longest <= 0 or frames <= self.longest:
            return 0
        return piece_frames(frames, self.longest) * self.hop

    def walk(self, wav: Tensor, wav_lengths: Tensor) -> Steps:
        """Yield the sites; see ``Upstream.walk``."""
        wav_lengths = wav_lengths.to(wav.device)
        model = self.model
        wav, counts = check_batch(wav, wav_lengths, self.shortest)
        together = self.padding == "s3prl"
        x = self.mel(wav, counts, together)
        lengths = self.frames(wav_lengths).to(x.device)
        if together:  # s3prl finds the padding by its zeros
            lengths = (x.sum(-1) != 0).sum(-1)
        x = yield "frontend", x, lengths
        if self.spec_augment and model.training:
            x = self._augment(x, lengths)
        grid = None
        if self.part is not None:
            size = self.piece(self.part.samples) // self.hop
            grid = (size, [start // self.hop for start in self.part.starts]) if size else None
        pieces = Pieces(lengths.tolist(), self.longest, x.size(1) if together else None, grid)
        x = pieces.split(x)
        inputs = model.input_representations
        positions = sinusoids(x.size(1), self.width).to(x.device)
        x = inputs.LayerNorm(inputs.spec_transform(x) + positions)
        x = pieces.split((yield "projection", pieces.join(x), lengths))
        x = inputs.dropout(x)
        # Added to the scores of the attention; as large as s3prl's own.
        mask = padding_mask(pieces.valid.to(x.device), x.size(1))[:, None, None] * -10000.0
        for number, layer in enumerate(model.encoder.layer, start=1):
            x, _ = call_layer(self, layer, x, mask, None)
            if number == self.num_layers and model.config.pre_layer_norm:
                x = model.encoder.LayerNorm[-1](x)
            x = pieces.split((yield f"layer.{number}", pieces.join(x), lengths))

    def run_layer(
        self, layer: nn.Module, x: Tensor, mask: Tensor, bias: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Run one transformer layer on x (B, T, D)."""
        return layer(x, mask), None

    def droppable(self, layer: nn.Module) -> bool:
        """Whether layer drop may leave this layer out."""
        return True

    def _augment(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Mask spans of time and bands of the log-mels by s3prl's own SpecAugment."""
        from s3prl.upstream.mockingjay.builder import spec_augment

        x = x.clone()
        for row, n in zip(x, lengths.tolist(), strict=True):
            spec_augment(
                row[None, :n],
                mask_T=masking.MEL_TIME_MASK,
                mask_F=min(masking.MEL_FREQUENCY_MASK, x.size(2) // 4),
            )
        return x

    def unused_parameters(self) -> list[nn.Parameter]:
        """Only models that normalize first have any."""
        # With layer norm first, s3prl normalizes copies of the hidden states; only the closing
        # one is part of the stream.
        if not self.model.config.pre_layer_norm:
            return []
        return [p for norm in self.model.encoder.LayerNorm[:-1] for p in norm.parameters()]

    def _dropouts(self) -> Iterator[nn.Dropout]:
        yield from (m for m in self.model.modules() if isinstance(m, nn.Dropout))

    def set_dropout(self, dropout: float | None) -> None:
        """Set the dropout of hidden states and attention."""
        for rate, holder in zip(self._own_dropout, self._dropouts(), strict=True):
            holder.p = rate if dropout is None else dropout


def build(architecture: dict[str, Any], family: str = "mockingjay") -> MelUpstream:
    """Build from ``{"transformer": {...}, "task": {...}, "audio": {...}}``, random weights."""
    from s3prl.upstream.mockingjay.model import TransformerConfig, TransformerModel

    config = copy.deepcopy({k: architecture[k] for k in ("transformer", "task", "audio")})
    mel = LogMel(config["audio"])
    model = TransformerModel(TransformerConfig(config["transformer"]), mel.width)
    return MelUpstream(family, model, config, mel)


def read(states: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Take architecture and weights out of ``{"Config" or "Upstream_Config", "Transformer"}``."""
    for key in ("Upstream_Config", "Config"):
        config = states.get(key)
        if isinstance(config, dict) and "transformer" in config:
            break
    else:
        raise FeatnormError("neither Config nor Upstream_Config describes a transformer")
    if "audio" not in config:
        raise FeatnormError("it was trained on features from disk; a waveform cannot go in")
    weights = {
        name.replace("gamma", "weight").replace("beta", "bias"): value
        for name, value in states["Transformer"].items()
    }
    return {k: config[k] for k in ("transformer", "task", "audio")}, weights
