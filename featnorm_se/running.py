"""Feature normalization frame by frame: statistics of what has been heard so far."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from featnorm_se.normalization import frame_mask
from featnorm_se.statistics import SiteStats


class RunningState(NamedTuple):
    """What has been heard: frames (B, 1, 1), sums and sums of squares (B, 1, D), float64.

    Sums are of the features less ``shift`` (the clean mean), which keeps them small.
    """

    frames: Tensor
    total: Tensor
    square: Tensor


class RunningNorm(nn.Module):
    """Causal FN: (m, s) at frame t are those of the frames up to t.

    ::

        FN(h_t) = sigma_c * (h_t - m_t) / max(s_t, eps) + mu_c

    It needs no frame of the future. At an utterance's last frame (m, s) equal those of the
    norm ``utterance``. Before anything is heard it starts from a prior, the clean (or, when
    given, the noisy) statistics, which weighs as much as ``prior_frames`` frames.

    Args:
        stats: clean statistics, D channels.
        noisy_stats: of the noisy training speech; a better prior than the clean ones.
        prior_frames: weight of the prior; 0: none, so the first frame becomes mu_c.
        eps: the least deviation divided by.
    """

    mean: Tensor
    std: Tensor
    prior_mean: Tensor
    prior_std: Tensor

    def __init__(
        self,
        stats: SiteStats,
        noisy_stats: SiteStats | None = None,
        prior_frames: float = 0.0,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        prior = noisy_stats or stats
        self.prior_frames = prior_frames
        self.eps = eps
        for name, value in (("mean", stats.mean), ("std", stats.std)):
            self.register_buffer(name, torch.as_tensor(value, dtype=torch.float32))
        for name, value in (("prior_mean", prior.mean), ("prior_std", prior.std)):
            self.register_buffer(name, torch.as_tensor(value, dtype=torch.float32))

    def initial(self, batch: int) -> RunningState:
        """Return the state of ``batch`` signals of which nothing has been heard."""
        offset = (self.prior_mean - self.mean).double()
        square = self.prior_std.double().square() + offset.square()
        count = torch.full((batch, 1, 1), float(self.prior_frames), dtype=torch.float64)
        count = count.to(offset.device)
        return RunningState(count, count * offset, count * square)

    def stream(self, x: Tensor, state: RunningState | None = None) -> tuple[Tensor, RunningState]:
        """Normalize the next frames.

        Args:
            x: (B, T, D), T >= 1 frames that follow those of ``state``.
            state: what was heard before; ``None``: nothing.

        Returns:
            (B, T, D) in x's type, and the state after them.
        """
        state = state or self.initial(x.shape[0])
        shifted = x.double() - self.mean.double()
        steps = torch.arange(1, x.shape[1] + 1, device=x.device, dtype=torch.float64)
        frames = state.frames + steps[None, :, None]
        total = state.total + shifted.cumsum(dim=1)
        square = state.square + shifted.square().cumsum(dim=1)
        mean = total / frames
        variance = (square / frames - mean.square()).clamp_min(self.eps**2)
        y = (shifted - mean) / variance.sqrt() * self.std.double() + self.mean.double()
        last = RunningState(frames[:, -1:], total[:, -1:], square[:, -1:])
        return y.to(x.dtype), last

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Normalize whole utterances causally, x (B, T, D); padding stays zero."""
        y, _ = self.stream(x)
        return y if lengths is None else y * frame_mask(x, lengths).to(y.dtype)
