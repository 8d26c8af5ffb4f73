"""Signals of any length through a model, in windows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from torch import Tensor

from featnorm_se.data.audio import FloatArray
from featnorm_se.errors import FeatnormError
from featnorm_se.inference.file_stats import FileStats
from featnorm_se.inference.windows import (
    OVERLAP_SECONDS,
    WINDOW_SECONDS,
    Window,
    cut_windows,
    join_windows,
    plan_windows,
)
from featnorm_se.statistics import SiteStats
from featnorm_se.upstream.pieces import Part
from featnorm_se.upstream.whole_file import WholeFile

if TYPE_CHECKING:
    from featnorm_se.inference.enhancer import Enhancer

STATS = ("file", "window")
_STATS_BLOCK = 1 << 20  # samples


@dataclass(frozen=True)
class Signal:
    """A signal at 16 kHz that can be read several times from its beginning.

    Attributes:
        samples: a channel's.
        channels: their number.
        blocks: starts anew: blocks (n, channels) float32.
    """

    samples: int
    channels: int
    blocks: Callable[[], Iterator[FloatArray]]

    @classmethod
    def of(cls, samples: FloatArray) -> Signal:
        """Take (N, channels) in memory."""
        return cls(len(samples), samples.shape[1], lambda: iter([samples]))


@dataclass(frozen=True)
class Windowing:
    """How a long signal is done.

    Attributes:
        seconds: length of a window; a signal up to it is done whole.
        overlap: seconds that neighbours share.
        stats: ``file``: statistics over time come from the whole signal, in passes before;
            ``window``: from each window.
        batch: windows (or channels) computed at once.

    Raises:
        FeatnormError: a value is out of range.
    """

    seconds: float = WINDOW_SECONDS
    overlap: float = OVERLAP_SECONDS
    stats: str = "file"
    batch: int = 1

    def __post_init__(self) -> None:
        if self.stats not in STATS:
            raise FeatnormError(f"--stats is {' or '.join(STATS)}, not {self.stats!r}")
        if self.batch < 1:
            raise FeatnormError(f"--batch {self.batch}: at least 1 is needed")


Progress = Callable[[float], None]


def enhance_signal(
    enhancer: Enhancer,
    signal: Signal,
    windowing: Windowing | None = None,
    progress: Progress = lambda done: None,
) -> Iterator[FloatArray]:
    """Enhance a signal; memory does not grow with its length.

    Args:
        enhancer: the model.
        signal: at 16 kHz.
        windowing: how; ``None``: the defaults.
        progress: told the share that is done, 0 to 1.

    Yields:
        (n, channels) float32 pieces, together as long as the signal.
    """
    how = windowing or Windowing()
    separator = enhancer.separator
    # The upstream sees what the STFT's frames make: no more than whole hops.
    seen = signal.samples // separator.stft.hop_length * separator.stft.hop_length
    piece = separator.upstream.piece(seen)
    plan = plan_windows(signal.samples, how.seconds, how.overlap, piece)
    if len(plan) == 1:
        for x in cut_windows(signal.blocks(), plan):
            yield _whole(enhancer, x, how.batch)
        progress(1.0)
        return
    part = Part(seen, [], [])
    if how.stats == "window":
        outputs = _windows(enhancer, signal, plan, part, None, how.batch)
        yield from _told(join_windows(outputs, plan), len(plan), 0.0, progress)
        return
    stats = FileStats(separator, _wave_stats(signal), part)
    with closing(stats.store):
        for index, point in enumerate(stats.points):
            with torch.inference_mode(), enhancer.precision():
                windows = _tensors(enhancer, signal, plan)
                spent = 0.3 * index / len(stats.points)
                stats.collect(point, _told(windows, 1 << 30, spent, progress))
        outputs = _windows(enhancer, signal, plan, part, stats.given, how.batch)
        yield from _told(join_windows(outputs, plan), len(plan), 0.3, progress)


Item = TypeVar("Item")


def _told(items: Iterable[Item], total: int, begun: float, progress: Progress) -> Iterator[Item]:
    """Pass items on and tell the share that is done, from ``begun`` on.

    That the passes before take 0.3 of all is a guess, good enough for a line of progress.
    """
    for done, item in enumerate(items, start=1):
        yield item
        progress(begun + (1 - begun) * done / total)


def _whole(enhancer: Enhancer, x: FloatArray, batch: int) -> FloatArray:
    """Enhance (N, channels) as one utterance a channel."""
    wav = torch.from_numpy(np.ascontiguousarray(x.T))
    # The STFT reflects half a window at both ends, so it needs that much to reflect.
    padded = torch.nn.functional.pad(wav, (0, max(enhancer.encoder.n_fft - wav.shape[1], 0)))
    y = torch.cat([enhancer.enhance(rows) for rows in padded.split(batch)])
    return y[:, : wav.shape[1]].numpy().T


def _windows(
    enhancer: Enhancer,
    signal: Signal,
    plan: list[Window],
    part: Part,
    given: WholeFile | None,
    batch: int,
) -> Iterator[FloatArray]:
    """Yield the output of every window, (samples, channels)."""
    together = max(1, batch // signal.channels)  # windows computed at once
    held: list[FloatArray] = []
    for index, x in enumerate(cut_windows(signal.blocks(), plan)):
        held.append(x)
        following = plan[index + 1].samples if index + 1 < len(plan) else None
        # The last window may be longer: rows of one batch have one length.
        if len(held) == together or following != len(x):
            starts = [window.start for window in plan[index + 1 - len(held) : index + 1]]
            y = _rows(enhancer, held, starts, part, given, batch)
            yield from (rows.T for rows in y)
            held = []


def _rows(
    enhancer: Enhancer,
    held: list[FloatArray],
    starts: list[int],
    part: Part,
    given: WholeFile | None,
    batch: int,
) -> FloatArray:
    """Enhance windows (N, channels) that begin at ``starts``; return (windows, channels, N)."""
    rows = torch.from_numpy(np.concatenate([x.T for x in held]))
    channels = held[0].shape[1]
    places = [(channel, start) for start in starts for channel in range(channels)]
    done = []
    for at in range(0, len(rows), batch):
        part.channels = [channel for channel, _ in places[at : at + batch]]
        part.starts = [start for _, start in places[at : at + batch]]
        with _given(enhancer, part, given):
            done.append(enhancer.enhance(rows[at : at + batch]))
    joined: FloatArray = torch.cat(done).numpy()
    return joined.reshape(len(held), channels, -1)


@contextmanager
def _given(enhancer: Enhancer, part: Part, given: WholeFile | None) -> Iterator[None]:
    """Have the model know which part of the file it gets, and the file's statistics if any."""
    separator = enhancer.separator
    level_norm = separator.level_norm
    try:
        if given is None:
            separator.upstream.part = part
            yield
            return
        separator.level_norm = None  # the file's level is among what is given
        with given.use():
            yield
    finally:
        separator.level_norm = level_norm
        separator.upstream.part = None


def _tensors(
    enhancer: Enhancer, signal: Signal, plan: list[Window]
) -> Iterator[tuple[Window, Tensor]]:
    for window, x in zip(plan, cut_windows(signal.blocks(), plan), strict=True):
        yield window, torch.from_numpy(np.ascontiguousarray(x.T)).to(enhancer.device)


def _wave_stats(signal: Signal) -> list[SiteStats]:
    """Statistics of each channel's samples over the whole signal."""
    totals = [SiteStats.of(np.zeros((0, 1)))] * signal.channels
    for block in signal.blocks():
        for start in range(0, len(block), _STATS_BLOCK):
            part = block[start : start + _STATS_BLOCK]
            totals = [
                total.merge(SiteStats.of(part[:, channel : channel + 1]))
                for channel, total in enumerate(totals)
            ]
    return totals
