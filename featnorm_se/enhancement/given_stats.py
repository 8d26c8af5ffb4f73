"""Have a model use statistics that are known from the whole file, and not its input's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from featnorm_se.enhancement.frame_store import FrameStore
from featnorm_se.enhancement.separator import FeatNormSeparator
from featnorm_se.statistics import SiteStats
from featnorm_se.upstream.base import Steps

_LEAST_RMS = 1e-8  # as LevelNorm has it


class GivenStats:
    """The statistics of a file's channels, put into the model while ``use`` lasts.

    Args:
        separator: the model's.
        wave: statistics of each channel's samples, of width 1.
        store: where the convolutions' output is, once it is known.

    Attributes:
        rows: the channel of each row of the batch at hand.
        starts: the sample at which each row begins in the file.
    """

    def __init__(
        self, separator: FeatNormSeparator, wave: list[SiteStats], store: FrameStore
    ) -> None:
        self.separator = separator
        self.upstream: Any = separator.upstream
        self.store = store
        self.rows: list[int] = []
        self.starts: list[int] = []
        self.known: dict[str, list[SiteStats]] = {}
        self._kinds: dict[str, tuple[str, Any]] = {}
        self._shift, self._gain = self._level(wave)

    def add(self, kind: str, name: str, module: Any, stats: list[SiteStats]) -> None:
        """Take what was collected at a point, one entry a channel."""
        self.known[name] = stats
        self._kinds[name] = (kind, module)

    @contextmanager
    def use(self) -> Iterator[None]:
        """Have the model use all that is known, for batches as ``rows`` and ``starts`` say."""
        with ExitStack() as undo:
            self._give_level(undo)
            for name, (kind, module) in self._kinds.items():
                means, stds = self._moments(name, unbiased=kind == "mel")
                getattr(self, f"_give_{kind}")(module, means, stds, undo)
            yield

    def scale(self, wav: Tensor) -> Tensor:
        """Bring waveforms (B, N) to the level that the model would bring the whole file to."""
        return (wav - self._pick(self._shift, wav)) * self._pick(self._gain, wav)

    def _level(self, wave: list[SiteStats]) -> tuple[np.ndarray, np.ndarray]:
        """What to take off and to multiply by, (channels, 1) each."""
        mean = np.stack([stats.mean for stats in wave])
        std = np.stack([stats.std for stats in wave])
        rms = np.sqrt(mean**2 + std**2)
        gain = np.ones_like(mean)
        if self.separator.level_norm is not None:
            level = float(self.separator.level_norm.level_db)
            gain = 10 ** (level / 20) / np.maximum(rms, _LEAST_RMS)
        mel = getattr(self.upstream, "mel", None)
        if mel is not None:
            return np.zeros_like(mean), 10 ** (mel.target_level / 20) / (rms + 1e-10)
        if getattr(self.upstream, "normalize", False):
            return mean, gain / np.sqrt((gain * std) ** 2 + 1e-5)
        return np.zeros_like(mean), gain

    def _give_level(self, undo: ExitStack) -> None:
        """Scale by the file's level; the model no longer looks at its input's own."""
        upstream, mel = self.upstream, getattr(self.upstream, "mel", None)
        if self.separator.level_norm is not None:
            _set(undo, self.separator, "level_norm", None)
        if mel is not None:
            _set(undo, mel, "_level", lambda row: _at_least(row, mel.shortest))
            # Until the file's mean is known, the log-mels are to be seen as they are.
            if mel.cmvn and mel._plain:
                _set(undo, mel, "cmvn", False)
        elif getattr(upstream, "normalize", False):
            _set(undo, upstream, "normalize", False)

        # Whatever is asked of an upstream goes through its walk.
        walk = upstream.walk

        def scaled_walk(wav: Tensor, wav_lengths: Tensor) -> Steps:
            return walk(self.scale(wav), wav_lengths)

        _set(undo, upstream, "walk", scaled_walk)

    def _give_mel(self, mel: Any, means: np.ndarray, stds: np.ndarray, undo: ExitStack) -> None:
        def normalize(_: nn.Module, inputs: tuple[Any, ...], x: Tensor) -> Tensor:
            mean, std = self._pick(means, x), self._pick(stds, x)
            return (x - mean[:, None]) / (std[:, None] + mel.extracter.eps)

        undo.callback(mel.register_forward_hook(normalize).remove)

    def _give_group(self, layer: Any, means: np.ndarray, stds: np.ndarray, undo: ExitStack) -> None:
        (norm,) = [part for part in layer if isinstance(part, nn.GroupNorm)]
        factor = norm.weight.detach().double().cpu().numpy() / np.sqrt(stds**2 + norm.eps)
        shift = norm.bias.detach().double().cpu().numpy() - means * factor

        def forward(x: Tensor) -> Tensor:
            a, b = self._pick(factor, x), self._pick(shift, x)
            return torch.addcmul(b[..., None], x, a[..., None])

        _set(undo, norm, "forward", forward)

    def _give_conv(
        self, convolutions: Any, means: np.ndarray, stds: np.ndarray, undo: ExitStack
    ) -> None:
        """Read the convolutions' output of an earlier pass; normalize it if that is asked for."""

        def forward(wav: Tensor) -> Tensor:
            frames = self.upstream.frames(wav.shape[-1])
            hop = self.upstream.hop
            places = zip(self.rows, self.starts, strict=True)
            kept = [self.store.read(row, start // hop, frames) for row, start in places]
            return torch.from_numpy(np.stack(kept)).to(wav.device).transpose(1, 2)

        _set(undo, convolutions, "forward", forward)
        if "frontend" in self.upstream.norms:
            self._give_site(self.upstream.norms["frontend"], means, stds, undo)

    def _give_site(self, norm: Any, means: np.ndarray, stds: np.ndarray, undo: ExitStack) -> None:
        def give(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            like = norm.mean
            norm.given = (self._pick(means, like)[:, None], self._pick(stds, like)[:, None])

        undo.callback(norm.register_forward_pre_hook(give).remove)
        undo.callback(setattr, norm, "given", None)

    def _pick(self, values: np.ndarray, like: Tensor) -> Tensor:
        """(channels, D) to (B, D), for the rows of the batch."""
        return torch.as_tensor(values[self.rows], device=like.device).to(like.dtype)

    def _moments(self, name: str, unbiased: bool) -> tuple[np.ndarray, np.ndarray]:
        """Means and deviations at a point, (channels, D) each."""
        known = self.known[name]
        loss = 1 if unbiased else 0
        stds = [np.sqrt(stats.m2 / max(stats.frames - loss, 1)) for stats in known]
        return np.stack([stats.mean for stats in known]), np.stack(stds)


def _at_least(row: Tensor, samples: int) -> Tensor:
    return nn.functional.pad(row, (0, max(0, samples - len(row))))


def _set(undo: ExitStack, owner: Any, name: str, value: Any) -> None:
    """Set an attribute until ``undo`` closes, which takes off what was not there before."""
    if name in vars(owner) or name in getattr(owner, "_modules", {}):
        undo.callback(setattr, owner, name, getattr(owner, name))
    else:
        undo.callback(delattr, owner, name)
    setattr(owner, name, value)
