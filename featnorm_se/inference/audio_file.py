"""One audio file through a model, given back at its own rate, length and format."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from featnorm_se.data.audio import FloatArray
from featnorm_se.data.resample import resample_blocks, resampled_length
from featnorm_se.inference.audio_stream import AudioInput, audio_output
from featnorm_se.inference.enhancer import Enhancer
from featnorm_se.inference.longform import Signal, Windowing, enhance_signal
from featnorm_se.names import SAMPLE_RATE


@dataclass(frozen=True)
class Done:
    """What came of a file: its length in seconds, and how many samples were clipped."""

    seconds: float
    clipped: int


def enhance_file(
    enhancer: Enhancer,
    source: AudioInput,
    target: Path,
    noise: Path | None = None,
    windowing: Windowing | None = None,
    progress: Callable[[float], None] = lambda done: None,
) -> Done:
    """Enhance a file into another, in blocks; memory does not grow with its length.

    Args:
        enhancer: the model.
        source: the noisy file.
        target: the file to write: same rate, length, channels and sample format, whole or not
            at all.
        noise: also write what was taken away (noisy minus enhanced) to this file.
        windowing: how a long file is cut; ``None``: the defaults.
        progress: told the share that is done, 0 to 1.

    Raises:
        FeatnormError: the source is cut short or holds NaN, or a target cannot be written.
    """
    header = source.header
    rate = header.sample_rate
    signal = Signal(
        resampled_length(header.frames, rate, SAMPLE_RATE),
        header.channels,
        lambda: resample_blocks(source.blocks(), rate, SAMPLE_RATE),
    )
    pieces = enhance_signal(enhancer, signal, windowing, progress)
    enhanced = _first(resample_blocks(pieces, SAMPLE_RATE, rate), header.frames)
    with ExitStack() as stack:
        outputs = [stack.enter_context(audio_output(target, header))]
        if noise is not None:
            outputs.append(stack.enter_context(audio_output(noise, header)))
            original = _Reader(source.blocks())
        for piece in enhanced:
            outputs[0].write(piece)
            if noise is not None:
                outputs[1].write(original.read(len(piece)) - piece)
    return Done(header.frames / rate, sum(output.clipped for output in outputs))


def _first(pieces: Iterator[FloatArray], frames: int) -> Iterator[FloatArray]:
    """Yield the first so many samples: resampling there and back can add a few."""
    for piece in pieces:
        yield piece[:frames]
        frames -= min(frames, len(piece))


class _Reader:
    """Reads so many samples at a time from blocks of any length."""

    def __init__(self, blocks: Iterator[FloatArray]) -> None:
        self._blocks = blocks
        self._held = next(blocks)

    def read(self, frames: int) -> FloatArray:
        """Return the next (frames, channels)."""
        parts = [self._held]
        have = len(self._held)
        while have < frames:
            parts.append(next(self._blocks))
            have += len(parts[-1])
        joined = np.concatenate(parts)
        self._held = joined[frames:]
        return joined[:frames]
