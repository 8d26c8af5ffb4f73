"""What lies above 8 kHz, which the model does not hear: kept under the gain from 4 to 8 kHz."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from featnorm_se.data.audio import FloatArray, resample_blocks
from featnorm_se.inference.long_signal import Signal
from featnorm_se.inference.windows import BlockReader
from featnorm_se.names import SAMPLE_RATE

_CORNER = 4000.0  # Hz; the gain is that of what lies above, up to 8 kHz
_SECONDS = 0.02  # of the mean of its energy
_FLOOR = 1e-12  # of energy, so that silence has a gain


def to_own_rate(
    pieces: Iterable[FloatArray],
    signal: Signal,
    original: Callable[[], Iterator[FloatArray]],
    rate: int,
    frames: int,
    high_band: str = "keep",
) -> Iterator[FloatArray]:
    """Bring an enhanced signal back to the rate that it came with.

    Args:
        pieces: the enhanced signal, (n, channels) at 16 kHz, or that of several talkers.
        signal: the noisy one at 16 kHz.
        original: starts the noisy signal anew, blocks (n, channels) at its own rate.
        rate, frames: that rate, in Hz, and its samples at it.
        high_band: ``keep`` adds what the noisy signal has above 8 kHz, weaker as the model made
            the band from 4 to 8 kHz weaker at that time; ``drop`` leaves it out.

    Yields:
        (n, channels) float32, together as long as the original.
    """
    if rate <= SAMPLE_RATE or high_band == "drop":
        left = frames  # resampling there and back can add a few samples
        for piece in resample_blocks(pieces, SAMPLE_RATE, rate):
            yield piece[:left]
            left -= len(piece[:left])
        return
    source = BlockReader(original())
    # One resampler for all three keeps them together to the sample.
    for block in resample_blocks(_with_gain(pieces, signal), SAMPLE_RATE, rate):
        whole = source.take(len(block))
        low, heard, factor = np.split(block[: len(whole)], 3, axis=1)
        whole = np.tile(whole, low.shape[1] // signal.channels)
        yield low + factor.clip(0.0, 1.0) * (whole - heard)


def _with_gain(pieces: Iterable[FloatArray], signal: Signal) -> Iterator[FloatArray]:
    """Yield (n, 3 channels): a piece, the noisy signal there, and the model's gain above 4 kHz.

    That is the square root of the quotient of both signals' energies, at each sample.
    """
    from scipy.signal import butter, lfilter, sosfilt

    high = butter(4, _CORNER, "highpass", fs=SAMPLE_RATE, output="sos")
    decay = float(np.exp(-1.0 / (_SECONDS * SAMPLE_RATE)))
    noisy, of_high, of_mean = BlockReader(signal.blocks()), None, None
    for piece in pieces:
        n, channels = piece.shape
        x = np.tile(noisy.take(n), channels // signal.channels)
        if of_high is None:  # the filters' states, of both signals
            of_high, of_mean = np.zeros((len(high), 2, 2, channels)), np.zeros((2, 1, channels))
        band, of_high = sosfilt(high, np.stack([piece, x]), axis=1, zi=of_high)
        energy, of_mean = lfilter([1.0 - decay], [1.0, -decay], np.square(band), axis=1, zi=of_mean)
        of_enhanced, of_noisy = np.maximum(energy, 0.0) + _FLOOR
        gain = np.sqrt(of_enhanced / of_noisy).clip(0.0, 1.0).astype(np.float32)
        yield np.concatenate([piece, x, gain], axis=1)
