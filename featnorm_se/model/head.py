"""The head: an upstream's features in, at the STFT's rate, and a magnitude mask out."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from featnorm_se.upstream.batching import on_device


def to_stft_rate(
    features: Tensor, lengths: Tensor, hop: int, offset: int, stft_hop: int, frames: int
) -> Tensor:
    """Interpolate an upstream's frames linearly at the centres of the STFT's frames.

    Frame k of the features is centred at sample ``offset + k * hop``, frame t of the STFT at
    ``t * stft_hop``. Before the first and after the last valid frame the nearest one is held.

    Args:
        features: (B, K, D).
        lengths: valid frames of each utterance (B,).
        hop: samples between the features' frames.
        offset: centre of their frame 0, in samples.
        stft_hop: samples between the STFT's frames.
        frames: number of STFT frames T.

    Returns:
        (B, T, D).
    """
    if hop == stft_hop and offset == 0 and features.shape[1] >= frames:
        return features[:, :frames]
    at = (torch.arange(frames, device=features.device) * stft_hop - offset) / hop
    last = (on_device(lengths, features.device) - 1).clamp_min(0)[:, None]
    at = torch.minimum(at.clamp_min(0)[None, :], last.to(at.dtype))
    low = at.floor().long()
    high = torch.minimum(low + 1, last)
    weight = (at - low).to(features.dtype)[..., None]
    batch = torch.arange(features.shape[0], device=features.device)[:, None]
    return torch.lerp(features[batch, low], features[batch, high], weight)


class WeightedSum(nn.Module):
    """Sum of layers with learnt softmax weights, as SUPERB's downstreams take it.

    Args:
        layers: number of layers.
        width: channels D of each.
        layer_norm: normalize each layer by a layer norm of its own first.
    """

    def __init__(self, layers: int, width: int, layer_norm: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(layers))
        norms = [nn.LayerNorm(width) if layer_norm else nn.Identity() for _ in range(layers)]
        self.norms = nn.ModuleList(norms)

    def forward(self, layers: Sequence[Tensor]) -> Tensor:
        """Sum ``layers``, each (B, T, D)."""
        weights = self.weight.softmax(dim=0)
        total = weights[0] * self.norms[0](layers[0])
        for weight, norm, layer in zip(weights[1:], self.norms[1:], layers[1:], strict=True):
            total = total + weight * norm(layer)
        return total


class MaskHead(nn.Module):
    """BLSTM and a linear layer with a sigmoid; each of its inputs has a layer norm of its own.

    Args:
        features: width D of the upstream's features.
        bins: number of frequencies F.
        use_spectrum: also take log1p|Y|, (B, T, F).
        layers: BLSTM layers.
        units: BLSTM units in each direction.
        dropout: between BLSTM layers.
        masks: how many to estimate, one a talker.
    """

    def __init__(
        self,
        features: int,
        bins: int,
        use_spectrum: bool = True,
        layers: int = 2,
        units: int = 256,
        dropout: float = 0.0,
        masks: int = 1,
    ) -> None:
        super().__init__()
        self.use_spectrum = use_spectrum
        # Upstreams differ in scale by orders of magnitude; the head should not.
        self.feature_norm = nn.LayerNorm(features)
        self.spectrum_norm = nn.LayerNorm(bins) if use_spectrum else None
        self.blstm = nn.LSTM(
            features + (bins if use_spectrum else 0),
            units,
            layers,
            batch_first=True,
            bidirectional=True,
            dropout=dropout if layers > 1 else 0.0,
        )
        self.mask = nn.Linear(2 * units, masks * bins)

    def forward(self, features: Tensor, magnitude: Tensor, lengths: Tensor) -> Tensor:
        """Estimate the mask.

        Args:
            features: (B, T, D) at the STFT's rate.
            magnitude: |Y| (B, T, F).
            lengths: valid frames (B,), on the CPU.

        Returns:
            The masks in [0, 1] one after the other, (B, T, masks * F).
        """
        x = self.feature_norm(features)
        if self.spectrum_norm is not None:
            x = torch.cat([x, self.spectrum_norm(torch.log1p(magnitude))], dim=-1)
        frames = x.shape[1]
        # Not in autocast: on a GPU it would be float16, in which small gradients vanish, and on a
        # CPU its backward pass takes twice as long in bfloat16 as in float32.
        with torch.autocast(x.device.type, enabled=False):
            x = x.to(self.mask.weight.dtype)
            if int(lengths.min()) == frames:
                x, _ = self.blstm(x)
            else:
                x = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
                x, _ = pad_packed_sequence(self.blstm(x)[0], batch_first=True, total_length=frames)
        return torch.sigmoid(self.mask(x))


HEADS: dict[str, type[MaskHead]] = {"blstm": MaskHead}  # what separator_conf.head may be
