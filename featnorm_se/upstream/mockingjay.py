"""Mockingjay and TERA (Liu et al. 2020, 2021), through ``s3prl.upstream.mockingjay``.

The two share one architecture: log-mels on the fly, then a transformer; they differ in how they
were pre-trained.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from featnorm_se.errors import FeatnormError
from featnorm_se.names import site_names
from featnorm_se.upstream.base import Steps, Upstream
from featnorm_se.upstream.batching import (
    check_batch,
    join_pieces,
    padding_mask,
    piece_sizes,
    split_pieces,
)
from featnorm_se.upstream.mel import LogMel


def sinusoids(frames: int, width: int, device: torch.device | None = None) -> Tensor:
    """Return the sinusoidal positions (frames, width) of Vaswani et al. (2017), section 3.5.

    s3prl builds a table of 24,000 rows in a Python loop, which takes half a minute; the values
    are the same. Made anew each time: a 200th of a forward pass on a CPU, and a recording on
    a GPU keeps what it made.
    """
    channel = torch.arange(width, dtype=torch.float64, device=device)
    rate = 10000.0 ** (2.0 * torch.div(channel, 2, rounding_mode="floor") / width)
    angle = torch.arange(frames, dtype=torch.float64, device=device).unsqueeze(1) / rate
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

    def __init__(self, model: Any, config: dict[str, Any], mel: LogMel) -> None:
        super().__init__(model, config)
        self.mel = mel
        self.hop, self.shortest = mel.hop, mel.shortest
        self.width = model.config.hidden_size
        self.num_layers = model.config.num_hidden_layers
        self.longest = int(config["task"]["sequence_length"])
        self.sites = dict.fromkeys(site_names(self.num_layers), self.width)
        self.sites["frontend"] = mel.width
        self.lowest_site = "projection" if mel.cmvn else "frontend"

    def piece(self, samples: int) -> int:
        """See ``Upstream.piece``."""
        frames = self.frames(samples)
        size = self._piece_frames(frames)
        return 0 if size == frames else size * self.hop

    def _piece_frames(self, frames: int) -> int:
        """Frames of the fewest equal pieces of an utterance; so ``torch.chunk`` cuts."""
        return frames if self.longest <= 0 else math.ceil(frames / math.ceil(frames / self.longest))

    def walk(self, wav: Tensor, wav_lengths: Tensor) -> Steps:
        """Yield the sites; see ``Upstream.walk``."""
        model = self.model
        wav, counts = check_batch(wav, wav_lengths, self.shortest)
        lengths = self.frames(wav_lengths)
        x = yield "frontend", self.mel(wav, counts), lengths
        pieces = self._pieces(lengths.tolist())
        x = split_pieces(x, pieces)
        inputs = model.input_representations
        x = inputs.LayerNorm(inputs.spec_transform(x) + sinusoids(x.size(1), self.width, x.device))
        x = yield "projection", join_pieces(x, pieces), lengths
        x = inputs.dropout(split_pieces(x, pieces))
        # Added to the scores of the attention; as large as s3prl's own.
        valid = torch.tensor([frames for of_one in pieces for frames in of_one])
        mask = padding_mask(valid, x.size(1), x.device)[:, None, None] * -10000.0
        for number, layer in enumerate(model.encoder.layer, start=1):
            x = self.run_part(layer, x, mask)
            if number == self.num_layers and model.config.pre_layer_norm:
                x = model.encoder.LayerNorm[-1](x)
            x = yield f"layer.{number}", join_pieces(x, pieces), lengths
            x = split_pieces(x, pieces)

    def _pieces(self, lengths: list[int]) -> list[list[int]]:
        """Cut each utterance by its own length, and the parts of a file where the file is cut."""
        if self.part is None:
            return [piece_sizes(n, self._piece_frames(n)) for n in lengths]
        size = self._piece_frames(self.frames(self.part.samples))
        rows = zip(lengths, [start // self.hop for start in self.part.starts], strict=True)
        return [piece_sizes(n, size, start) for n, start in rows]

    def dropouts(self) -> list[tuple[Any, str]]:
        """All modules of dropout."""
        return [(m, "p") for m in self.model.modules() if isinstance(m, nn.Dropout)]


def build(architecture: dict[str, Any]) -> MelUpstream:
    """Build from ``{"transformer": {...}, "task": {...}, "audio": {...}}``, random weights."""
    from s3prl.upstream.mockingjay.model import TransformerConfig, TransformerModel

    config = {k: architecture[k] for k in ("transformer", "task", "audio")}
    mel = LogMel(config["audio"])
    model = TransformerModel(TransformerConfig(config["transformer"]), mel.width)
    return MelUpstream(model, config, mel)


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
