"""A whole file's statistics, collected window by window in passes before the last one.

Each pass needs what the ones before it collected; ``upstream/whole_file.py`` has the points where
an upstream takes statistics over time, and makes it use those of the whole file.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from featnorm_se.data.audio import FloatArray
from featnorm_se.errors import FeatnormError
from featnorm_se.inference.windows import Window
from featnorm_se.model.separator import FeatNormSeparator
from featnorm_se.statistics import SiteStats
from featnorm_se.upstream.pieces import Part
from featnorm_se.upstream.whole_file import (
    Point,
    WholeFile,
    find_points,
    reach,
    stats_of_convolution,
)

_MARGIN = 640  # samples; more than any convolution's or log-mel's reach


class FrameStore:
    """Frames of several channels of audio in a temporary file that vanishes when it is closed.

    A file, and not memory, since an hour of a Base model's takes 370 MB.

    Args:
        frames: of every audio channel.
    """

    def __init__(self, frames: int) -> None:
        self.frames = frames
        self.width = 0
        self._handle = tempfile.TemporaryFile()  # noqa: SIM115  # closed by ``close``

    def write(self, channel: int, first: int, x: FloatArray) -> None:
        """Put x (T, D) at frame ``first`` of an audio channel.

        Raises:
            FeatnormError: the disk is full.
        """
        self.width = x.shape[1]
        try:
            self._handle.seek(4 * self.width * (channel * self.frames + first))
            self._handle.write(np.ascontiguousarray(x, dtype=np.float32).tobytes())
        except OSError as error:
            raise FeatnormError(
                f"cannot keep features in {tempfile.gettempdir()}: {error.strerror}; set TMPDIR to"
                " a larger disk, or give --stats window"
            ) from error

    def read(self, channel: int, first: int, frames: int) -> FloatArray:
        """Return (frames, D) from frame ``first`` of an audio channel."""
        self._handle.seek(4 * self.width * (channel * self.frames + first))
        data = bytearray(self._handle.read(4 * self.width * frames))
        return np.frombuffer(data, dtype=np.float32).reshape(frames, self.width)

    def close(self) -> None:
        """Remove the file."""
        self._handle.close()


class FileStats:
    """Collects the statistics of one file.

    Args:
        separator: the model's, in eval mode.
        wave: statistics of each channel's samples, of width 1.
        part: which part of the file a batch is.

    Attributes:
        store: what is kept on disk; to be closed at the end.
        points: what is to be collected, in order.
        given: what is known so far, and its use.
    """

    def __init__(self, separator: FeatNormSeparator, wave: list[SiteStats], part: Part) -> None:
        self.upstream = separator.upstream
        self.store = FrameStore(self.upstream.frames(part.samples))
        self.part = part
        level = None if separator.level_norm is None else float(separator.level_norm.level_db)
        self.given = WholeFile(self.upstream, wave, self.store, part, level)
        self.points = list(find_points(self.upstream))

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
                    stats = self._stats(point, window, row, channel)
                    total = totals.get(channel)
                    totals[channel] = stats if total is None else total.merge(stats)
        self.given.add(point, list(totals.values()))

    def _stats(self, point: Point, window: Window, row: Tensor, channel: int) -> SiteStats:
        """Statistics of the frames in the window's own part."""
        start, stop = window.start, window.stop
        if not point.deep:
            start = max(start, (window.own_start - _MARGIN) // _MARGIN * _MARGIN)
            stop = min(stop, window.own_stop + _MARGIN)
        self.part.channels, self.part.starts = [channel], [start]
        wav = row[None, start - window.start : stop - window.start]
        first = -(-(window.own_start - start) // point.hop)
        last = -(-(window.own_stop - start) // point.hop) if stop > window.own_stop else None
        if point.kind == "group":
            return stats_of_convolution(self.given.scale(wav)[0], point.module[0], first, last)
        x = reach(self.upstream, point, wav)[0, first:last].float()
        if point.kind == "conv":
            self.store.write(channel, start // point.hop + first, x.cpu().numpy())
        variance, mean = torch.var_mean(x, dim=0, correction=0)
        return SiteStats(
            len(x), mean.double().cpu().numpy(), variance.double().cpu().numpy() * len(x)
        )
