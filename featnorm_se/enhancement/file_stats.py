"""A whole file's statistics, collected in windows.

On a whole utterance a model takes several statistics over time: the waveform's level, the group
norm of a first convolution, the mean of log-mels, and (m, s) of feature normalization. Taken
from each window they would change from window to window. Here they are taken over the whole
file in passes before, each needing the ones below it; ``given_stats`` has the model use them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from featnorm_se.enhancement.frame_store import FrameStore
from featnorm_se.enhancement.given_stats import GivenStats
from featnorm_se.enhancement.separator import FeatNormSeparator
from featnorm_se.enhancement.windows import Window
from featnorm_se.normalization import FeatureNorm
from featnorm_se.statistics import SiteStats

_MARGIN = 640  # samples; more than any convolution's or log-mel's reach


@dataclass(frozen=True)
class Point:
    """Where a statistic over time is taken.

    Attributes:
        name: for messages.
        module: what it is about.
        kind: ``group`` (a group norm's input), ``mel`` (the log-mels), ``conv`` (the output of
            the convolutions, which is also kept for later passes) or ``site`` (a feature
            normalization's input).
        hop: samples between its frames.
    """

    name: str
    module: Any
    kind: str
    hop: int


class _Reached(Exception):
    """Carries a point's features out of the upstream, which then computes nothing deeper."""

    def __init__(self, features: Tensor) -> None:
        super().__init__()
        self.features = features


class FileStats:
    """Collects the statistics of one file.

    Args:
        separator: the model's, in eval mode.
        wave: statistics of each channel's samples, of width 1.
        samples: of a channel, at 16 kHz.

    Attributes:
        points: what is to be collected, in order.
        given: what is known so far, and its use.
    """

    def __init__(self, separator: FeatNormSeparator, wave: list[SiteStats], samples: int) -> None:
        self.upstream: Any = separator.upstream
        self.store = FrameStore(self.upstream.frames(samples))
        self.given = GivenStats(separator, wave, self.store)
        self.points = list(self._find_points())

    def _find_points(self) -> Iterator[Point]:
        upstream = self.upstream
        sites, norms = [], dict(upstream.norms.items())
        for site in upstream.sites:
            norm = norms.get(site.replace(".", "_"))
            if isinstance(norm, FeatureNorm) and norm.norm != "corpus":
                sites.append(Point(site, norm, "site", upstream.hop))
        mel = getattr(upstream, "mel", None)
        # Only plain log-mels can have their normalization taken off (see LogMel).
        if mel is not None and mel.cmvn and mel._plain:
            yield Point("log-mels", mel, "mel", upstream.hop)
        if upstream.cnn_parts():
            (convolutions,) = upstream.cnn_parts()
            first = convolutions.conv_layers[0]
            if upstream.group_norm and any(_by_channel(part) for part in first):
                yield Point("the first convolution", first, "group", upstream.conv_layers[0][2])
            if sites:
                yield Point("frontend", convolutions, "conv", upstream.hop)
                sites = [point for point in sites if point.name != "frontend"]
        yield from sites

    def collect(self, point: Point, windows: Iterator[tuple[Window, Tensor]]) -> None:
        """Take one point's statistics over a file.

        Args:
            point: the first of ``points`` that is not known yet.
            windows: every window with its samples (channels, N).
        """
        totals: dict[int, SiteStats] = {}
        with self.given.use():
            for window, wav in windows:
                for channel, row in enumerate(wav):
                    part = self._part(point, window, row, channel)
                    total = totals.get(channel)
                    totals[channel] = part if total is None else total.merge(part)
        self.given.add(point.kind, point.name, point.module, list(totals.values()))

    def _part(self, point: Point, window: Window, row: Tensor, channel: int) -> SiteStats:
        """Statistics of the frames in the window's own part."""
        start, stop = window.start, window.stop
        if point.kind != "site" or point.name == "frontend":
            start = max(start, (window.own_start - _MARGIN) // _MARGIN * _MARGIN)
            stop = min(stop, window.own_stop + _MARGIN)
        self.given.rows, self.given.starts = [channel], [start]
        wav = row[None, start - window.start : stop - window.start]
        first = -(-(window.own_start - start) // point.hop)
        last = -(-(window.own_stop - start) // point.hop) if stop > window.own_stop else None
        if point.kind == "group":
            return _through_convolution(self.given.scale(wav)[0], point.module[0], first, last)
        x = self._until(point, wav)[0, first:last].float()
        if point.kind == "conv":
            self.store.write(channel, start // point.hop + first, x.cpu().numpy())
        variance, mean = torch.var_mean(x, dim=0, correction=0)
        return SiteStats(
            len(x), mean.double().cpu().numpy(), variance.double().cpu().numpy() * len(x)
        )

    def _until(self, point: Point, wav: Tensor) -> Tensor:
        """Run the upstream on (1, N) as far as a point; return its features (1, T, D)."""

        def before(_: nn.Module, inputs: tuple[Any, ...]) -> None:
            raise _Reached(inputs[0])

        def after(_: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
            raise _Reached(output.transpose(1, 2) if point.kind == "conv" else output)

        if point.kind == "site":
            handle = point.module.register_forward_pre_hook(before)
        else:
            handle = point.module.register_forward_hook(after)
        try:
            self.upstream(wav, torch.tensor([wav.shape[1]], device=wav.device))
        except _Reached as reached:
            return reached.features
        finally:
            handle.remove()
        raise RuntimeError(f"the upstream never reached {point.name}")


def _by_channel(module: nn.Module) -> bool:
    return isinstance(module, nn.GroupNorm) and module.num_groups == module.num_channels


def _through_convolution(
    wav: Tensor, convolution: nn.Conv1d, first: int, last: int | None
) -> SiteStats:
    """Statistics of a convolution's output, without computing it.

    With weights w over a patch p of samples, the mean of w.p is w.E[p] and its variance
    w.Cov[p].w: ten by ten numbers instead of 512 channels at 3,200 frames a second.

    Args:
        wav: (N,) samples.
        convolution: of one input channel, without padding.
        first, last: the frames to take.
    """
    (kernel,), (stride,) = convolution.kernel_size, convolution.stride
    patches = wav.double().unfold(0, kernel, stride)[first:last]
    centre = patches.mean(0)
    patches = patches - centre
    weight = convolution.weight[:, 0].double()
    mean = weight @ centre
    if convolution.bias is not None:
        mean = mean + convolution.bias.double()
    m2 = ((weight @ (patches.t() @ patches)) * weight).sum(1)
    return SiteStats(len(patches), mean.cpu().numpy(), np.maximum(m2.cpu().numpy(), 0.0))
