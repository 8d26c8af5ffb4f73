"""A whole file's statistics for a model that sees the file in windows.

On a whole utterance a model takes several statistics over time: the waveform's level, the group
norm of a first convolution, the mean of log-mels, and (m, s) of feature normalization. Taken
from each window they would change from window to window. Here they are taken over the whole
file in passes before, each needing the ones below it, and given to the model from outside.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from featnorm_se.enhancement.separator import FeatNormSeparator
from featnorm_se.enhancement.windows import Window
from featnorm_se.normalization import FeatureNorm
from featnorm_se.statistics import SiteStats

_MARGIN = 640  # samples; more than any convolution's or log-mel's reach
_LEAST_RMS = 1e-8  # as LevelNorm has it


@dataclass(frozen=True)
class Point:
    """Where a statistic over time is taken.

    Attributes:
        name: for messages.
        module: whose input (``after``: output) it is taken of.
        kind: ``group``, ``mel`` or ``site``.
        hop: samples between its frames.
        near: its frames depend on no more than ``_MARGIN`` samples around them.
    """

    name: str
    module: nn.Module
    kind: str
    hop: int
    near: bool

    @property
    def after(self) -> bool:
        """Whether the module's output is meant, not its input."""
        return self.kind == "mel"


class _Reached(Exception):
    """Carries a point's features out of the upstream, which then computes nothing deeper."""

    def __init__(self, features: Tensor) -> None:
        super().__init__()
        self.features = features


class FileStats:
    """The statistics of one file with several channels, and their use.

    Args:
        separator: the model's, in eval mode.
        wave: statistics of each channel's samples, of width 1.
    """

    def __init__(self, separator: FeatNormSeparator, wave: list[SiteStats]) -> None:
        self.separator = separator
        self.upstream: Any = separator.upstream
        self.wave = wave
        self.known: dict[str, list[SiteStats]] = {}
        self.rows: list[int] = []  # the channel of each row of the batch at hand
        self.points = list(self._find_points())

    def _find_points(self) -> Iterator[Point]:
        mel = getattr(self.upstream, "mel", None)
        # Only plain log-mels can have their normalization taken off (see LogMel).
        if mel is not None and mel.cmvn and mel._plain:
            yield Point("log-mels", mel, "mel", self.upstream.hop, True)
        if self.upstream.group_norm:
            norms = [m for m in self.upstream.cnn_parts()[0].modules() if _by_channel(m)]
            if len(norms) == 1:
                hop = self.upstream.conv_layers[0][2]
                yield Point("the first convolution", norms[0], "group", hop, True)
        for site in self.upstream.sites:
            norm = self.upstream.norms._modules.get(site.replace(".", "_"))
            if isinstance(norm, FeatureNorm) and norm.norm != "corpus":
                yield Point(site, norm, "site", self.upstream.hop, site == "frontend")

    def collect(self, point: Point, windows: Iterator[tuple[Window, Tensor]]) -> None:
        """Take one point's statistics over a file.

        Args:
            point: the first of ``points`` that is not known yet.
            windows: every window with its samples (channels, N).
        """
        totals: list[SiteStats | None] = [None] * len(self.wave)
        with self.given():
            for window, wav in windows:
                for channel, row in enumerate(wav):
                    part = self._part(point, window, row, channel)
                    before = totals[channel]
                    totals[channel] = part if before is None else before.merge(part)
        self.known[point.name] = [total for total in totals if total is not None]

    def _part(self, point: Point, window: Window, row: Tensor, channel: int) -> SiteStats:
        """Statistics of the frames in the window's own part."""
        start, stop = window.start, window.stop
        if point.near:
            start = max(start, (window.own_start - _MARGIN) // _MARGIN * _MARGIN)
            stop = min(stop, window.own_stop + _MARGIN)
        self.rows = [channel]
        x = self._until(point, row[None, start - window.start : stop - window.start])
        first = -(-(window.own_start - start) // point.hop)
        last = -(-(window.own_stop - start) // point.hop) if stop > window.own_stop else None
        variance, mean = torch.var_mean(x[0, first:last].float(), dim=0, correction=0)
        frames = len(x[0, first:last])
        return SiteStats(
            frames,
            mean.double().cpu().numpy(),
            variance.double().cpu().numpy() * frames,
        )

    def _until(self, point: Point, wav: Tensor) -> Tensor:
        """Run the upstream on (1, N) as far as a point; return its features (1, T, D)."""

        def before(_: nn.Module, inputs: tuple[Any, ...]) -> None:
            raise _Reached(inputs[0])

        def after(_: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
            raise _Reached(output)

        if point.after:
            handle = point.module.register_forward_hook(after)
        else:
            handle = point.module.register_forward_pre_hook(before)
        try:
            self.upstream(wav, torch.tensor([wav.shape[1]], device=wav.device))
        except _Reached as reached:
            x = reached.features
            return x.transpose(1, 2) if point.kind == "group" else x
        finally:
            handle.remove()
        raise RuntimeError(f"the upstream never reached {point.name}")

    @contextmanager
    def given(self) -> Iterator[None]:
        """Have the model use what is known, for batches whose rows are ``rows``' channels."""
        with ExitStack() as undo:
            self._give_level(undo)
            for point in self.points:
                if point.name in self.known:
                    getattr(self, f"_give_{point.kind}")(point, undo)
                elif point.kind == "mel":
                    _set(undo, point.module, "cmvn", False)
            yield

    def _pick(self, values: np.ndarray, like: Tensor) -> Tensor:
        """(channels, D) to (B, D), for the rows of the batch."""
        return torch.as_tensor(values[self.rows], device=like.device).to(like.dtype)

    def _give_level(self, undo: ExitStack) -> None:
        """Scale waveforms by the file's level and mean; windows' own are not looked at."""
        mel = getattr(self.upstream, "mel", None)
        level = self.separator.level_norm
        mean = np.stack([stats.mean for stats in self.wave])
        rms = np.sqrt(mean**2 + np.stack([stats.std for stats in self.wave]) ** 2)
        shift, gain = np.zeros_like(mean), np.ones_like(mean)
        if level is not None:
            gain = 10 ** (float(level.level_db) / 20) / np.maximum(rms, _LEAST_RMS)
            _set(undo, self.separator, "level_norm", None)
        if mel is not None:
            gain = 10 ** (mel.target_level / 20) / (rms + 1e-10)
            _set(undo, mel, "_level", lambda row: _at_least(row, mel.shortest))
        elif getattr(self.upstream, "normalize", False):
            shift = mean
            deviation = np.stack([stats.std for stats in self.wave])
            gain = gain / np.sqrt((gain * deviation) ** 2 + 1e-5)
            _set(undo, self.upstream, "normalize", False)

        def scale(_: nn.Module, inputs: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
            wav, lengths = inputs
            return (wav - self._pick(shift, wav)) * self._pick(gain, wav), lengths

        undo.callback(self.upstream.register_forward_pre_hook(scale).remove)

    def _give_mel(self, point: Point, undo: ExitStack) -> None:
        mel: Any = point.module
        _set(undo, mel, "cmvn", False)
        means, stds = self._moments(point.name, unbiased=True)

        def normalize(_: nn.Module, inputs: tuple[Any, ...], x: Tensor) -> Tensor:
            mean, std = self._pick(means, x), self._pick(stds, x)
            return (x - mean[:, None]) / (std[:, None] + mel.extracter.eps)

        undo.callback(mel.register_forward_hook(normalize).remove)

    def _give_group(self, point: Point, undo: ExitStack) -> None:
        norm: Any = point.module
        means, stds = self._moments(point.name)
        weight = norm.weight.detach().double().cpu().numpy()
        scale = weight / np.sqrt(stds**2 + norm.eps)
        shift = norm.bias.detach().double().cpu().numpy() - means * scale

        def forward(x: Tensor) -> Tensor:
            a, b = self._pick(scale, x), self._pick(shift, x)
            return torch.addcmul(b[..., None], x, a[..., None])

        _set(undo, norm, "forward", forward)

    def _give_site(self, point: Point, undo: ExitStack) -> None:
        norm: Any = point.module
        means, stds = self._moments(point.name)

        def give(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            like = norm.mean
            norm.given = (self._pick(means, like)[:, None], self._pick(stds, like)[:, None])

        undo.callback(norm.register_forward_pre_hook(give).remove)
        undo.callback(setattr, norm, "given", None)

    def _moments(self, name: str, unbiased: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Means and deviations of every channel, (channels, D)."""
        known = self.known[name]
        stds = [
            s.std * np.sqrt(s.frames / max(s.frames - 1, 1)) if unbiased else s.std for s in known
        ]
        return np.stack([s.mean for s in known]), np.stack(stds)


def _by_channel(module: nn.Module) -> bool:
    return isinstance(module, nn.GroupNorm) and module.num_groups == module.num_channels


def _at_least(row: Tensor, samples: int) -> Tensor:
    return nn.functional.pad(row, (0, max(0, samples - len(row))))


def _set(undo: ExitStack, owner: Any, name: str, value: Any) -> None:
    """Set an attribute until ``undo`` closes, which takes off what was not there before."""
    own = name in vars(owner) or name in getattr(owner, "_modules", {})
    if own:
        undo.callback(setattr, owner, name, getattr(owner, name))
    else:
        undo.callback(delattr, owner, name)
    setattr(owner, name, value)
