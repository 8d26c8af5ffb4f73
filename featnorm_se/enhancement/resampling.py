"""The project's resampler on signals that come in blocks: the same samples as on the whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import gcd

import numpy as np

from featnorm_se.data.audio import FloatArray
from featnorm_se.data.resample import resample

# Rates with hardly a common divisor with 16 kHz (say 15,999 Hz) would make torchaudio build a
# filter for each of thousands of phases, each thousands of samples long.
_LARGEST_BANK = 20_000_000
_BLOCK = 1 << 18  # samples resampled at a time


def resample_blocks(blocks: Iterable[FloatArray], rate: int, target: int) -> Iterator[FloatArray]:
    """Resample a signal given in blocks.

    The resampler is a filter that repeats itself every ``rate / gcd`` samples, so pieces that
    begin on that grid, with the filter's reach around them, give the whole signal's samples.

    Args:
        blocks: (n, channels) each, of any lengths.
        rate: the rate they have, in Hz.
        target: the rate wanted, in Hz.

    Yields:
        (m, channels) float32; together ceil(N * target / rate) samples.
    """
    if rate == target:
        yield from blocks
        return
    step, new = rate // gcd(rate, target), target // gcd(rate, target)
    # torchaudio's filter reaches 6 zero crossings of the lower rate; scipy's default one 10.
    reach = (16 * max(rate, target) // target // step + 1) * step
    size = max(1, _BLOCK // step) * step
    held: FloatArray | None = None
    before = 0  # samples of ``held`` that are only there for the filter's reach
    for block in blocks:
        held = block if held is None else np.concatenate([held, block])
        while len(held) >= before + size + reach:
            piece = _resample(held[: before + size + reach], rate, target)
            yield piece[before // step * new : (before + size) // step * new]
            held = held[before + size - min(reach, before + size) :]
            before = min(reach, before + size)
    if held is not None and len(held) > before:
        yield _resample(held, rate, target)[before // step * new :]


def _resample(samples: FloatArray, rate: int, target: int) -> FloatArray:
    """Resample (N, channels) at once."""
    shared = gcd(rate, target)
    if (rate // shared) * (target // shared) > _LARGEST_BANK:
        from scipy.signal import resample_poly

        return resample_poly(samples, target // shared, rate // shared, axis=0).astype(np.float32)
    columns = [resample(column, rate, target) for column in samples.T]
    return np.stack(columns, axis=1)
