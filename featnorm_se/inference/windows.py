"""Long signals in overlapping windows, and the windows' outputs as one signal again."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise, permutations

import numpy as np

from featnorm_se.data.audio import FloatArray
from featnorm_se.errors import FeatnormError
from featnorm_se.names import SAMPLE_RATE

STATS = ("file", "window")
FADE_SECONDS = 0.5
# Window starts keep to this grid, so that the frames of every upstream (hop 160 or 320) and of
# the STFT (hop 160) fall where they fall in the whole signal.
GRID = 320


@dataclass(frozen=True)
class Windowing:
    """How a long signal is done.

    Attributes:
        window: seconds of a window; a signal up to it is done whole. A Base model's activations
            on 20 s stay well under 1 GiB.
        overlap: seconds that neighbours share at least; the outer half of it on either side is
            only context, except for the cross-fade in its middle.
        stats: ``file``: feature normalization takes (m, s) from the whole signal, in a pass
            before; ``window``: from each window.
        batch: windows (or channels) computed at once.

    Raises:
        FeatnormError: a value is out of range.
    """

    window: float = 20.0
    overlap: float = 3.0
    stats: str = "file"
    batch: int = 1

    def __post_init__(self) -> None:
        if self.stats not in STATS:
            raise FeatnormError(f"--stats is {' or '.join(STATS)}, not {self.stats!r}")
        if self.batch < 1:
            raise FeatnormError(f"--batch {self.batch}: at least 1 is needed")
        if not 0 < self.window < 1e6:
            raise FeatnormError(f"--window {self.window}: a number of seconds, such as 20")
        fits = FADE_SECONDS < self.overlap < self.window
        if not fits or _on_grid(self.window) < 4 * _context(self.overlap):
            fault = f"windows of {self.window} s with {self.overlap} s of overlap"
            wanted = f"longer than {FADE_SECONDS} s and the windows at least twice as long as it"
            raise FeatnormError(f"{fault}: the overlap must be {wanted}")


@dataclass(frozen=True)
class Window:
    """One window, in samples at 16 kHz.

    Attributes:
        start, stop: what the model gets.
        own_start, own_stop: the part that no other window has in its own; together these parts
            make up the signal. They meet in the middle of the overlaps.
    """

    start: int
    stop: int
    own_start: int
    own_stop: int


def plan_windows(samples: int, windowing: Windowing, piece: int = 0) -> list[Window]:
    """Cover a signal with windows that have equal parts in their own and context on either side.

    A signal of up to one window is one window. The others are as few as will do. All but the
    first and the last have one length.

    Args:
        samples: of the signal, at 16 kHz.
        windowing: how long windows are at most, and overlaps at least.
        piece: the model cuts the whole signal into pieces of so many samples by itself, and
            nothing passes from one to the next: windows that are long enough for a piece meet
            between two. 0: it does not.
    """
    size, context = _on_grid(windowing.window), _context(windowing.overlap)
    if samples <= size:
        return [Window(0, samples, 0, samples)]
    own = most = size - 2 * context
    if 0 < piece <= most:
        own = most // piece * piece
    else:
        count = -(-samples // most)
        own = -(-samples // (count * GRID)) * GRID
    edges = [0, *range(own, samples - context, own), samples]
    return [
        Window(max(0, start - context), min(samples, stop + context), start, stop)
        for start, stop in pairwise(edges)
    ]


def _on_grid(seconds: float) -> int:
    return int(seconds * SAMPLE_RATE) // GRID * GRID


def _context(overlap: float) -> int:
    return -(-int(overlap * SAMPLE_RATE) // (2 * GRID)) * GRID


class BlockReader:
    """Takes any number of samples from a signal that comes in blocks (n, channels)."""

    def __init__(self, blocks: Iterable[FloatArray]) -> None:
        self._blocks = iter(blocks)
        self._held: FloatArray | None = None

    def take(self, count: int, step: int | None = None) -> FloatArray:
        """Return the next (count, channels), fewer at the end, and go on by ``step`` or by all."""
        parts = [] if self._held is None else [self._held]
        while sum(map(len, parts)) < count and (block := next(self._blocks, None)) is not None:
            parts.append(block)
        joined = parts[0] if len(parts) == 1 else np.concatenate(parts)
        self._held = joined[count if step is None else step :]
        return joined[:count]


def cut_windows(blocks: Iterable[FloatArray], plan: list[Window]) -> Iterator[FloatArray]:
    """Cut a signal that comes in blocks (n, channels) into the windows of a plan, in order.

    Yields (samples, channels) of each; no more than a window and a block is held.
    """
    source = BlockReader(blocks)
    for window, following in pairwise([*plan, plan[-1]]):
        yield source.take(window.stop - window.start, following.start - window.start)


def follow_talkers(outputs: Iterable[FloatArray], plan: list[Window]) -> Iterator[FloatArray]:
    """Keep the talkers of all windows (and channels) in one order, by what neighbours share.

    ``outputs`` are (talkers, channels, samples) of each window of ``plan``, in order. Yields
    (samples, talkers * channels) of each, a talker's channels together.
    """
    before: FloatArray | None = None
    for number, y in enumerate(outputs):
        if len(y) > 1:
            y = np.stack([one[_order(one, y[:, 0])] for one in y.swapaxes(0, 1)], axis=1)
            if before is not None:
                shared = plan[number - 1].stop - plan[number].start
                y = y[_order(y[..., :shared], before[..., -shared:])]
            before = y
        yield np.ascontiguousarray(y.reshape(-1, y.shape[-1]).T)


def _order(talkers: FloatArray, like: FloatArray) -> list[int]:
    """Return the order of talkers, (talkers, ...), in which they correlate best with others."""
    orders = map(list, permutations(range(len(talkers))))
    return max(orders, key=lambda order: float(np.sum(talkers[order] * like)))


def join_windows(outputs: Iterable[FloatArray], plan: list[Window]) -> Iterator[FloatArray]:
    """Put the windows' outputs together, with a cross-fade around every joint.

    ``outputs`` are (samples, channels) of each window of ``plan``, in order. Yields (n, channels)
    pieces, together as long as the signal.
    """
    fade = int(FADE_SECONDS * SAMPLE_RATE)
    rise = ((np.arange(fade, dtype=np.float32) + 0.5) / fade)[:, None]
    tail: FloatArray | None = None
    for window, output in zip(plan, outputs, strict=True):
        first = window.own_start - (fade // 2 if window.own_start else 0)
        final = window is plan[-1]
        last = window.own_stop - (0 if final else fade // 2)
        piece = output[first - window.start : last - window.start]
        if tail is not None:
            piece = piece.copy()
            # This form keeps two equal signals exactly as they are.
            piece[:fade] = tail + rise * (piece[:fade] - tail)
        yield piece
        tail = output[last - window.start : last - window.start + fade].copy()
