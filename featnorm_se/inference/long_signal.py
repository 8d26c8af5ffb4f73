"""Signals of any length through a model, in windows."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from featnorm_se.data.audio import FloatArray
from featnorm_se.inference.windows import (
    BlockReader,
    Window,
    Windowing,
    cut_windows,
    follow_talkers,
    join_windows,
    plan_windows,
)
from featnorm_se.normalization import FeatureNorm
from featnorm_se.progress import progress
from featnorm_se.statistics import SiteStats
from featnorm_se.upstream.base import Upstream
from featnorm_se.upstream.batching import (
    BLOCK,
    SILENCE,
    Part,
    block_deviation,
    keep_blocks,
    signal_blocks,
    silence_limit,
)
from featnorm_se.upstream.precision import computing

if TYPE_CHECKING:
    from featnorm_se.inference.enhancer import Enhancer

# By site, the statistics of each channel over the whole signal.
Known = dict[str, list[SiteStats]]
# Held while a model knows of one signal: a thread with another one waits.
TURN = threading.RLock()


@dataclass(frozen=True)
class Signal:
    """A signal at 16 kHz that can be read several times from its beginning.

    Attributes:
        samples: a channel's.
        channels: their number.
        blocks: starts anew: blocks (n, channels) float32.
        silence: each channel's limit: 10 ms that vary by less hold no signal (``silence_limit``).
    """

    samples: int
    channels: int
    blocks: Callable[[], Iterator[FloatArray]]
    silence: Sequence[float] = ()

    @classmethod
    def of(cls, samples: FloatArray) -> Signal:
        """Take (N, channels) in memory."""
        return cls(len(samples), samples.shape[1], lambda: iter([samples]))


@dataclass(frozen=True)
class Row:
    """What the model gets: one channel of one window, samples (N,)."""

    channel: int
    window: Window
    samples: FloatArray


def enhance_signal(
    enhancer: Enhancer, signal: Signal, windowing: Windowing | None = None, label: str = ""
) -> Iterator[FloatArray]:
    """Enhance a signal; memory does not grow with its length.

    Args:
        enhancer, signal: the model and the noisy signal.
        windowing: how; ``None``: the defaults.
        label: show on stderr how far a long signal is, under this name.

    Yields:
        (n, channels) float32 pieces, together as long as the signal; of several talkers
        (n, talkers * channels), the first one's channels first.
    """
    how = windowing or Windowing()
    signal = without_offset(signal)
    plan = plan_windows(signal.samples, how, enhancer.separator.upstream.piece(signal.samples))
    if len(plan) == 1:
        # A window that is the whole signal has the whole signal's statistics by itself.
        how, label = replace(how, stats="window"), ""
    done = enhance_windows(enhancer, signal, plan, how, label)
    yield from join_windows(follow_talkers(done, plan), plan)


def without_offset(signal: Signal) -> Signal:
    """Take a constant offset off each channel, and find what is silence in this recording.

    It is the mean of what holds a signal: the zeros of a mute have no offset, and 10 ms of
    silence become zeros, whatever their constant is.
    """

    def blocks() -> Iterator[FloatArray]:
        reader = BlockReader(signal.blocks())
        while len(x := reader.take(400 * BLOCK)):  # the same blocks however it is read
            yield x

    def centred(x: FloatArray) -> FloatArray:
        varies = limits <= block_deviation(torch.from_numpy(np.ascontiguousarray(x.T))).numpy().T
        return (x - offset) * varies.repeat(BLOCK, axis=0)[: len(x)]

    total = np.zeros(signal.channels)
    count = np.zeros(signal.channels)
    loudest = torch.zeros(signal.channels)
    for x in blocks():
        wav = torch.from_numpy(np.ascontiguousarray(x.T))
        loudest = torch.maximum(loudest, block_deviation(wav).amax(dim=1))
        limit = torch.tensor([*map(silence_limit, loudest.tolist())])[:, None]
        lengths = torch.full((len(wav),), wav.shape[1])
        kept = signal_blocks(wav, lengths, limit=limit)
        kept = kept.repeat_interleave(BLOCK, dim=1)[:, : wav.shape[1]]
        total += (wav.double() * kept).sum(dim=1).numpy()
        count += kept.sum(dim=1).numpy()
    offset = (total / np.maximum(count, 1)).astype(np.float32)
    limits = [*map(silence_limit, loudest.tolist())]
    return replace(signal, blocks=lambda: map(centred, blocks()), silence=limits)


def enhance_windows(
    enhancer: Enhancer, signal: Signal, plan: list[Window], windowing: Windowing, label: str = ""
) -> Iterator[FloatArray]:
    """Yield every window's output, (talkers, channels, samples); see ``enhance_signal``."""
    upstream = enhancer.separator.upstream

    def batches(task: str) -> Iterator[list[Row]]:
        windows: Iterable[Any] = zip(plan, cut_windows(signal.blocks(), plan), strict=True)
        if label:
            windows = progress(windows, f"{label}: {task}", len(plan), "window")
        return _batches(windows, windowing.batch)

    known: Known = {}
    # Each site's features are built on the normalization of those below it.
    for site, norm in _normalized(upstream).items() if windowing.stats == "file" else ():
        totals = [SiteStats.of(np.zeros((0, upstream.sites[site])))] * signal.channels
        for rows in batches("statistics"):
            wav = _stack(rows)
            lengths = torch.full((len(rows),), wav.shape[1])
            blocks = signal_blocks(wav, lengths, limit=_limits(signal, rows))
            speaks = blocks.any(dim=1)
            if not speaks.any():
                continue
            rows = [row for row, one in zip(rows, speaks, strict=True) if one]
            wav, lengths = keep_blocks(wav[speaks], lengths[speaks], blocks[speaks])
            with (
                _given(enhancer, signal, rows, known),
                computing(enhancer.device, enhancer.precision),
            ):
                features = _before_norm(upstream, site, norm, wav.to(enhancer.device), lengths)
            for row, kept, x in zip(rows, blocks[speaks], features, strict=True):
                own = x[_own_frames(row.window, upstream.hop, kept, len(x))]
                totals[row.channel] = totals[row.channel].merge(SiteStats.of(own.numpy()))
        known[site] = totals
    done: list[FloatArray] = []
    for rows in batches("enhancing"):
        with _given(enhancer, signal, rows, known):
            done += [np.atleast_2d(y.numpy()) for y in enhancer.enhance(list(_stack(rows)))]
        while len(done) >= signal.channels:
            yield np.stack(done[: signal.channels], axis=1)
            del done[: signal.channels]


def _batches(windows: Iterable[tuple[Window, FloatArray]], size: int) -> Iterator[list[Row]]:
    """Put the channels of windows, in order, together to rows of one length."""
    held: list[Row] = []
    for window, x in windows:
        for channel in range(x.shape[1]):
            # The first and the last window may be shorter.
            if held and (len(held) == size or len(held[0].samples) != len(x)):
                yield held
                held = []
            held.append(Row(channel, window, x[:, channel]))
    yield held


def _limits(signal: Signal, rows: list[Row]) -> Tensor:
    return torch.tensor([signal.silence[row.channel] for row in rows])[:, None]


def _stack(rows: list[Row]) -> Tensor:
    return torch.from_numpy(np.stack([row.samples for row in rows]))


def _normalized(upstream: Upstream) -> dict[str, FeatureNorm]:
    """Return by site the norms that take (m, s) from the signal at hand, the lowest first."""
    norms = dict(upstream.norms.items())
    found = {site: norms.get(site.replace(".", "_")) for site in upstream.sites}
    return {s: n for s, n in found.items() if isinstance(n, FeatureNorm) and n.norm != "corpus"}


@torch.inference_mode()
def _before_norm(
    upstream: Upstream, site: str, norm: FeatureNorm, wav: Tensor, lengths: Tensor
) -> list[Tensor]:
    """Run an upstream on wav (B, N) as far as a site; return (T, D) of each, float32 on the CPU."""
    found: list[Tensor] = []
    with norm.register_forward_pre_hook(lambda _, inputs: found.append(inputs[0])):
        _, frames = upstream.extract(wav, lengths, [site])
    return [x[:n].float().cpu() for x, n in zip(found[0], frames.tolist(), strict=True)]


def _own_frames(window: Window, hop: int, kept: Tensor, frames: int) -> Tensor:
    """Which frames begin in the part that no other window has in its own: (frames,) booleans.

    They are ``hop`` samples apart in the blocks of the window that were ``kept``, (T,) booleans.
    """
    begin = torch.arange(frames) * hop
    places = kept.nonzero()[:, 0] * BLOCK
    at = window.start + places[(begin // BLOCK).clamp_max(len(places) - 1)] + begin % BLOCK
    last = window.own_stop == window.stop
    return (at >= window.own_start) & (last | (at < window.own_stop))


@contextmanager
def _given(enhancer: Enhancer, signal: Signal, rows: list[Row], known: Known) -> Iterator[None]:
    """Have a model know what the rows of a batch are parts of, the whole signal, and normalize
    them by what is known of that. It is left as it was, whatever happens.
    """
    upstream = enhancer.separator.upstream
    norms = _normalized(upstream)
    with TURN:
        try:
            upstream.silence = _limits(signal, rows).to(enhancer.device)
            if len(rows[0].samples) < signal.samples:  # else it is as in training
                upstream.part = Part(signal.samples, [row.window.start for row in rows])
            for site, totals in known.items():
                rows_stats = [totals[row.channel] for row in rows]
                like = norms[site].mean
                mean = torch.as_tensor(np.stack([stats.mean for stats in rows_stats])).to(like)
                std = torch.as_tensor(np.stack([stats.std for stats in rows_stats])).to(like)
                norms[site].given = (mean[:, None], std[:, None])
            yield
        finally:
            upstream.part, upstream.silence = None, SILENCE
            for norm in norms.values():
                norm.given = None
