"""Feature normalization (FN): noisy features are given the statistics of clean speech.

The equation is this project's own reading of Yang and Kang, "Feature Normalization for
Fine-tuning Self-Supervised Models in Speech Enhancement", Interspeech 2023 (arXiv 2306.08406)::

    FN(h) = sigma_c * (h - m) / max(s, eps) + mu_c

per channel and over valid frames only, with (m, s) the noisy and (mu_c, sigma_c) the clean
statistics.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from featnorm_se.errors import FeatnormError
from featnorm_se.names import FEATURE_NORMS
from featnorm_se.statistics import SiteStats
from featnorm_se.upstream.batching import valid_frames


class FeatureNorm(nn.Module):
    """FN at one site, as a module whose buffers hold the statistics.

    Kinds (``norm``): ``utterance`` takes (m, s) from the frames of each utterance; ``corpus``
    from the noisy training speech, which makes it a fixed affine map; ``instance`` is
    ``utterance`` with mu_c = 0 and sigma_c = 1; ``mix`` is h + w (FN(h) - h), with one
    learnable weight w a channel that starts at 1.

    Args:
        stats: the clean statistics at this site, D channels.
        norm: the kind, one of ``FEATURE_NORMS``.
        noisy_stats: the noisy training speech's statistics; ``corpus`` needs them.

    Attributes:
        eps: the least deviation divided by, in the features' own unit.
        given: (m, s) to use instead of those of the frames at hand, each (D,) or (B, 1, D), as
            when an utterance comes in pieces; ``None``: take them from the frames.

    Raises:
        FeatnormError: an unknown kind, or ``corpus`` without ``noisy_stats``.
    """

    eps = 1e-5
    mean: Tensor
    std: Tensor
    noisy_mean: Tensor
    noisy_std: Tensor

    def __init__(
        self,
        stats: SiteStats,
        norm: str = "utterance",
        noisy_stats: SiteStats | None = None,
    ) -> None:
        super().__init__()
        if norm not in FEATURE_NORMS:
            fault = f"no such feature normalization: {norm!r}; there are {', '.join(FEATURE_NORMS)}"
            raise FeatnormError(fault)
        if norm == "corpus" and noisy_stats is None:
            raise FeatnormError("norm 'corpus' needs the noisy statistics too: run stage 2")
        self.norm = norm
        self.given: tuple[Tensor, Tensor] | None = None
        held = {"mean": stats.mean, "std": stats.std}
        if norm == "instance":
            held = {"mean": np.zeros(stats.width), "std": np.ones(stats.width)}
        if noisy_stats is not None and norm == "corpus":
            held |= {"noisy_mean": noisy_stats.mean, "noisy_std": noisy_stats.std}
        for name, value in held.items():
            self.register_buffer(name, torch.as_tensor(value, dtype=torch.float32))
        self.weight = nn.Parameter(torch.ones(stats.width)) if norm == "mix" else None

    @classmethod
    def empty(cls, width: int, norm: str) -> FeatureNorm:
        """Return one of ``width`` channels whose buffers wait for ``load_state_dict``."""
        blank = SiteStats(frames=1, mean=np.zeros(width), m2=np.ones(width))
        return cls(blank, norm, noisy_stats=blank)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Normalize a batch.

        Args:
            x: features (B, T, D); half and bfloat16 are computed in float32.
            lengths: valid frames of each utterance (B,), best on the CPU; ``None``: all
                frames are valid.

        Returns:
            (B, T, D) in x's type; frames beyond ``lengths`` are exactly zero.
        """
        odd = lengths is not None and (lengths.shape != x.shape[:1] or lengths.is_floating_point())
        if odd or x.dim() != 3 or not x.is_floating_point():
            found = [(list(one.shape), one.dtype) for one in (x, lengths) if one is not None]
            raise FeatnormError(f"float features (B, T, D) and lengths (B,) are wanted: {found}")
        if x.shape[-1] != self.mean.shape[0]:
            fault = f"the features have {x.shape[-1]} channels, the statistics {self.mean.shape[0]}"
            raise FeatnormError(f"{fault}: collect them from this upstream and site")
        dtype = x.dtype
        h = x.float() if dtype in (torch.float16, torch.bfloat16) else x
        if lengths is None:
            lengths = torch.full(h.shape[:1], h.shape[1])
        valid, count = valid_frames(lengths, h.shape[1], h.device)
        h = h.masked_fill(~valid, 0.0)
        mask = valid.to(h.dtype)
        centred, deviation = self._centre(h, mask, count)
        y = centred * (self.std.to(h.dtype) / deviation) + self.mean.to(h.dtype)
        if self.weight is not None:
            y = h + self.weight.to(h.dtype) * (y - h)
        return (y * mask).to(dtype)

    def _centre(self, h: Tensor, mask: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
        """Return h - m (B, T, D) and max(s, eps), which broadcasts to it."""
        if self.norm == "corpus":
            return h - self.noisy_mean.to(h.dtype), self.noisy_std.to(h.dtype).clamp_min(self.eps)
        if self.given is not None:
            mean, deviation = self.given
            return h - mean.to(h.dtype), deviation.to(h.dtype).clamp_min(self.eps)
        # Twice, since a mean of float32 is off by as much as a large one is coarse.
        centred = (h - h.sum(dim=1, keepdim=True) / count) * mask
        centred = (centred - centred.sum(dim=1, keepdim=True) / count) * mask
        variance = centred.square().sum(dim=1, keepdim=True) / count
        # Clamping before the root keeps the gradient finite where a channel does not vary.
        return centred, variance.clamp_min(self.eps**2).sqrt()


class LevelNorm(nn.Module):
    """The control ``level``: scale a waveform to the clean corpus's mean level, nothing else.

    That level is the buffer ``level_db``, RMS in dB relative to full scale.
    """

    level_db: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("level_db", torch.tensor(0.0))

    def forward(self, wav: Tensor, lengths: Tensor) -> Tensor:
        """Scale wav (B, N), of ``lengths`` (B,) valid samples; silence stays silence."""
        valid, count = valid_frames(lengths, wav.shape[1], wav.device)
        heard = wav.masked_fill(~valid[..., 0], 0.0)
        power = heard.square().sum(dim=1, keepdim=True) / count[..., 0]
        return wav * (10 ** (self.level_db / 20)).to(wav.dtype) / power.sqrt().clamp_min(1e-8)
