"""An upstream on parts of a long file, with the statistics over time of the whole file.

On a whole utterance a model takes several statistics over time: the waveform's level, the group
norm of a first convolution, the mean of log-mels, and (m, s) of feature normalization. Taken
from each part they would change from part to part. ``find_points`` says where they are taken,
``reach`` computes what they are taken of, and ``WholeFile`` has the upstream use them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from featnorm_se.normalization import FeatureNorm
from featnorm_se.statistics import SiteStats
from featnorm_se.upstream.base import Steps, Upstream
from featnorm_se.upstream.pieces import Part

_LEAST_RMS = 1e-8  # as LevelNorm has it
Array = NDArray[Any]


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
        deep: attention comes before it, so that it feels the part's edges everywhere.
    """

    name: str
    module: Any
    kind: str
    hop: int
    deep: bool = False


class Frames(Protocol):
    """Where the output of the convolutions is kept between passes."""

    def read(self, channel: int, first: int, frames: int) -> NDArray[np.float32]:
        """Return (frames, D) from frame ``first`` of an audio channel."""
        ...


def find_points(upstream: Any) -> Iterator[Point]:
    """Yield the points of an upstream, each after those that it depends on."""
    sites, norms = [], dict(upstream.norms.items())
    for site in upstream.sites:
        norm = norms.get(site.replace(".", "_"))
        if isinstance(norm, FeatureNorm) and norm.norm != "corpus":
            sites.append(Point(site, norm, "site", upstream.hop, site != "frontend"))
    mel = getattr(upstream, "mel", None)
    # Only plain log-mels can have their normalization taken off (see LogMel).
    if mel is not None and mel.cmvn and mel.plain:
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


def _by_channel(module: nn.Module) -> bool:
    return isinstance(module, nn.GroupNorm) and module.num_groups == module.num_channels


def reach(upstream: Upstream, point: Point, wav: Tensor) -> Tensor:
    """Run an upstream on (1, N) as far as a point; return its features (1, T, D)."""
    wanted = point.name if point.kind == "site" else "frontend"
    steps = upstream.walk(wav, torch.tensor([wav.shape[1]], device=wav.device))
    site, x, lengths = next(steps)
    while site != wanted:
        key = site.replace(".", "_")
        if key in upstream.norms:
            x = upstream.norms[key](x, lengths)
        site, x, lengths = steps.send(x)
    steps.close()
    return x


def stats_of_convolution(
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


class WholeFile:
    """The statistics of a file's channels, put into an upstream while ``use`` lasts.

    Args:
        upstream: the upstream.
        wave: statistics of each channel's samples, of width 1.
        store: where the convolutions' output is, once it is known.
        part: which part of the file a batch is; the caller keeps it up to date.
        level_db: the RMS level that the waveforms would be brought to before the upstream, in
            dB relative to full scale; ``None``: their own.
    """

    def __init__(
        self,
        upstream: Upstream,
        wave: list[SiteStats],
        store: Frames,
        part: Part,
        level_db: float | None = None,
    ) -> None:
        self.upstream: Any = upstream
        self.store = store
        self.part = part
        self.known: dict[str, list[SiteStats]] = {}
        self._points: list[Point] = []
        self._first: tuple[Array, Array] | None = None
        self._shift, self._gain = self._level(wave, level_db)

    def add(self, point: Point, stats: list[SiteStats]) -> None:
        """Take what was collected at a point, one entry a channel."""
        self.known[point.name] = stats
        self._points.append(point)

    @contextmanager
    def use(self) -> Iterator[None]:
        """Have the upstream use all that is known, for batches as ``part`` says."""
        give = {
            "mel": self._give_mel,
            "group": self._give_group,
            "conv": self._give_conv,
            "site": self._give_site,
        }
        with ExitStack() as undo:
            _set(undo, self.upstream, "part", self.part)
            self._give_level(undo)
            for point in self._points:
                means, stds = self._moments(point)
                give[point.kind](point.module, means, stds, undo)
            yield

    def scale(self, wav: Tensor) -> Tensor:
        """Bring waveforms (B, N) to the level that the whole file would be brought to."""
        return (wav - self._pick(self._shift, wav)) * self._pick(self._gain, wav)

    def _level(self, wave: list[SiteStats], level_db: float | None) -> tuple[Array, Array]:
        """What to take off and to multiply by, (channels, 1) each."""
        mean = np.stack([stats.mean for stats in wave])
        std = np.stack([stats.std for stats in wave])
        rms = np.sqrt(mean**2 + std**2)
        gain = np.ones_like(mean)
        if level_db is not None:
            gain = 10 ** (level_db / 20) / np.maximum(rms, _LEAST_RMS)
        mel = getattr(self.upstream, "mel", None)
        if mel is not None:
            return np.zeros_like(mean), 10 ** (mel.target_level / 20) / (rms + 1e-10)
        if getattr(self.upstream, "normalize", False):
            return mean, gain / np.sqrt((gain * std) ** 2 + 1e-5)
        return np.zeros_like(mean), gain

    def _give_level(self, undo: ExitStack) -> None:
        """Scale by the file's level; the upstream no longer looks at its input's own."""
        upstream, mel = self.upstream, getattr(self.upstream, "mel", None)
        if mel is not None:
            _set(undo, mel, "to_level", lambda row: row)
            # Until the file's mean is known, the log-mels are to be seen as they are.
            if mel.cmvn and mel.plain:
                _set(undo, mel, "cmvn", False)
        elif getattr(upstream, "normalize", False):
            _set(undo, upstream, "normalize", False)

        # Whatever is asked of an upstream goes through its walk.
        walk = upstream.walk

        def scaled_walk(wav: Tensor, wav_lengths: Tensor) -> Steps:
            self._say_rows(wav)
            return walk(self.scale(wav), wav_lengths)

        _set(undo, upstream, "walk", scaled_walk)

    def _give_mel(self, mel: Any, means: Array, stds: Array, undo: ExitStack) -> None:
        def normalize(_: nn.Module, inputs: tuple[Any, ...], x: Tensor) -> Tensor:
            mean, std = self._pick(means, x), self._pick(stds, x)
            return (x - mean[:, None]) / (std[:, None] + mel.extracter.eps)

        undo.callback(mel.register_forward_hook(normalize).remove)

    def _give_group(self, layer: Any, means: Array, stds: Array, undo: ExitStack) -> None:
        self._first = (means, stds**2)
        undo.callback(setattr, self, "_first", None)
        undo.callback(setattr, self.upstream, "given_first", None)
        (norm,) = [part for part in layer if isinstance(part, nn.GroupNorm)]

        def forward(x: Tensor) -> Tensor:  # where s3prl's modules run
            mean, variance = self.upstream.given_first
            scale = norm.weight.double() * (variance.double() + norm.eps).rsqrt()
            shift = norm.bias.double() - mean.double() * scale
            return torch.addcmul(shift.to(x.dtype)[..., None], x, scale.to(x.dtype)[..., None])

        _set(undo, norm, "forward", forward)

    def _say_rows(self, wav: Tensor) -> None:
        if self._first is not None:
            mean, variance = (self._pick(values, wav) for values in self._first)
            self.upstream.given_first = (mean, variance)

    def _give_conv(self, module: Any, means: Array, stds: Array, undo: ExitStack) -> None:
        """Read the convolutions' output of an earlier pass; normalize it if that is asked for."""

        def convolve(wav: Tensor, wav_lengths: Tensor) -> Tensor:
            frames, hop = self.upstream.frames(wav.shape[-1]), self.upstream.hop
            places = zip(self.part.channels, self.part.starts, strict=True)
            kept = [self.store.read(channel, start // hop, frames) for channel, start in places]
            return torch.from_numpy(np.stack(kept)).to(wav.device)

        _set(undo, self.upstream, "convolve", convolve)
        if "frontend" in self.upstream.norms:
            self._give_site(self.upstream.norms["frontend"], means, stds, undo)

    def _give_site(self, norm: Any, means: Array, stds: Array, undo: ExitStack) -> None:
        def give(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            like = norm.mean
            norm.given = (self._pick(means, like)[:, None], self._pick(stds, like)[:, None])

        undo.callback(norm.register_forward_pre_hook(give).remove)
        undo.callback(setattr, norm, "given", None)

    def _pick(self, values: Array, like: Tensor) -> Tensor:
        """(channels, D) to (B, D), for the rows of the batch."""
        return torch.as_tensor(values[self.part.channels], device=like.device).to(like.dtype)

    def _moments(self, point: Point) -> tuple[Array, Array]:
        """Means and deviations at a point, (channels, D) each."""
        known = self.known[point.name]
        loss = 1 if point.kind == "mel" else 0  # s3prl's log-mels take the unbiased deviation
        stds = [np.sqrt(stats.m2 / max(stats.frames - loss, 1)) for stats in known]
        return np.stack([stats.mean for stats in known]), np.stack(stds)


def _set(undo: ExitStack, owner: Any, name: str, value: Any) -> None:
    """Set an attribute until ``undo`` closes, which takes off what was not there before."""
    if name in vars(owner) or name in getattr(owner, "_modules", {}):
        undo.callback(setattr, owner, name, getattr(owner, name))
    else:
        undo.callback(delattr, owner, name)
    setattr(owner, name, value)
