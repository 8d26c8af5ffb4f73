"""Clean speech and noise to a pair at a wanted signal-to-noise ratio."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from featnorm_se.data.audio import FloatArray
from featnorm_se.errors import FeatnormError

SILENCE_RMS = 1e-4
_PEAK = 0.99
_MARGIN_DB = 15.9


def rms(samples: FloatArray) -> float:
    """Return the root mean square of samples of any shape."""
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))


def active_level(samples: FloatArray, sample_rate: int) -> float:
    """Return the active speech level: the RMS over the time in which somebody speaks.

    Method B of ITU-T P.56: an envelope with a time constant of 30 ms, a hangover of 200 ms, and
    the threshold that lies 15.9 dB under the level it gives, found between thresholds a factor
    of two apart. VoiceBank-DEMAND's SNRs were set with this level.

    Args:
        samples: shape (N,), in [-1, 1].
        sample_rate: in Hz.

    Returns:
        The level as an RMS amplitude; 0 for silence.
    """
    from scipy.signal import lfilter

    power = float(np.sum(np.square(samples, dtype=np.float64)))
    if power == 0.0:
        return 0.0
    pole = float(np.exp(-1.0 / (sample_rate * 0.03)))
    envelope = np.abs(samples.astype(np.float64))
    for _ in range(2):
        envelope = lfilter([1.0 - pole], [1.0, -pole], envelope)
    hangover = round(0.2 * sample_rate)
    thresholds = 0.5 ** np.arange(1.0, 16.0)
    previous: tuple[float, float] | None = None
    for threshold in thresholds:
        count = _active_samples(envelope, threshold, hangover)
        if count == 0:
            continue
        level = 10.0 * np.log10(power / count)
        excess = level - 20.0 * np.log10(threshold) - _MARGIN_DB
        if excess >= 0.0:
            if previous is not None:
                # Interpolate to where the threshold is exactly the margin under the level.
                share = -previous[1] / (excess - previous[1])
                level = previous[0] + share * (level - previous[0])
            return float(10.0 ** (level / 20.0))
        previous = (level, excess)
    return rms(samples)


def _active_samples(envelope: NDArray[np.float64], threshold: float, hangover: int) -> int:
    """Count the samples at most ``hangover`` after one whose envelope reached the threshold."""
    index = np.arange(len(envelope))
    last = np.maximum.accumulate(np.where(envelope >= threshold, index, -len(envelope) - hangover))
    return int(np.count_nonzero(index - last <= hangover))


def mix_at_snr(
    clean: FloatArray, noise: FloatArray, snr: float, sample_rate: int
) -> tuple[FloatArray, FloatArray]:
    """Add noise to clean speech; scale both down by one gain when the sum would clip.

    Args:
        clean: shape (N,).
        noise: shape (N,).
        snr: active level of the speech over the RMS of the noise, in dB.
        sample_rate: in Hz.

    Returns:
        The clean and the noisy signal, both (N,) float32 with peaks of at most 0.99.

    Raises:
        FeatnormError: one of them is silent.
    """
    speech_level, noise_level = active_level(clean, sample_rate), rms(noise)
    if speech_level == 0.0 or noise_level == 0.0:
        raise FeatnormError("silence cannot be mixed at a signal-to-noise ratio")
    gain = speech_level / noise_level * 10.0 ** (-snr / 20.0)
    noisy = clean + np.float32(gain) * noise
    peak = max(float(np.abs(clean).max()), float(np.abs(noisy).max()))
    scale = np.float32(min(1.0, _PEAK / peak))
    return scale * clean, scale * noisy


def mix_talkers(
    talkers: tuple[FloatArray, FloatArray],
    noise: FloatArray,
    ratio: float,
    snr: float,
    sample_rate: int,
) -> dict[str, FloatArray]:
    """Mix two talkers and noise as Libri2Mix has them, by its folders.

    Args:
        talkers: the two, shape (N,).
        noise: shape (N,).
        ratio: active level of the first talker over that of the second, in dB.
        snr: active level of both together over the RMS of the noise, in dB.
        sample_rate: in Hz.

    Returns:
        ``s1``, ``s2``, ``noise``, ``mix_clean`` and ``mix_both``, (N,) float32 under one gain with
        peaks of at most 0.99.

    Raises:
        FeatnormError: a talker or the noise is silent.
    """
    first, second = talkers
    levels = [active_level(x, sample_rate) for x in talkers]
    if 0.0 in (*levels, rms(noise)):
        raise FeatnormError("silence cannot be mixed at a ratio of levels")
    second = np.float32(levels[0] / levels[1] * 10.0 ** (-ratio / 20.0)) * second
    both = first + second
    noise = np.float32(active_level(both, sample_rate) / rms(noise) * 10.0 ** (-snr / 20.0)) * noise
    mixed = {"s1": first, "s2": second, "noise": noise, "mix_clean": both}
    mixed["mix_both"] = both + noise
    peak = max(float(np.abs(x).max()) for x in mixed.values())
    scale = np.float32(min(1.0, _PEAK / peak))
    return {name: scale * x for name, x in mixed.items()}
