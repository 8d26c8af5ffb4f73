"""Signal-to-distortion ratios in dB: SI_SDR (one gain allowed) and SDR (a filter allowed)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# A perfect copy would read infinity, which spoils every mean: both ratios stay in +-100 dB.
LIMIT_DB = 100.0
FILTER_TAPS = 512


def _decibels(target: float, distortion: float) -> float:
    """Return 10 log10(target / distortion), held in +-LIMIT_DB."""
    if distortion <= 0.0:
        return LIMIT_DB
    if target <= 0.0:
        return -LIMIT_DB
    return float(np.clip(10.0 * np.log10(target / distortion), -LIMIT_DB, LIMIT_DB))


def si_sdr(ref: Array, inf: Array) -> float:
    """Scale-invariant signal-to-distortion ratio of zero-mean signals, in dB.

    With x, y the signals less their means and a = <y, x> / <x, x>:
    10 log10(|a x|^2 / |a x - y|^2), held in +-100 dB.
    Le Roux, Wisdom, Erdogan and Hershey, "SDR: half-baked or well done?", ICASSP 2019.

    Args:
        ref: clean speech, shape (N,), not constant.
        inf: the speech to judge, shape (N,).
    """
    ref = ref - ref.mean()
    inf = inf - inf.mean()
    target = (np.dot(inf, ref) / np.dot(ref, ref)) * ref
    error = inf - target
    return _decibels(float(np.dot(target, target)), float(np.dot(error, error)))


def sdr(ref: Array, inf: Array) -> float:
    """Signal-to-distortion ratio as BSS-eval has it, in dB, held in +-100 dB.

    The target is the clean speech through the filter of 512 taps that comes nearest to ``inf``
    (least squares, solved by its Toeplitz normal equations); 10 log10(|target|^2 /
    |inf - target|^2). Vincent, Gribonval and Fevotte, "Performance measurement in blind audio
    source separation", IEEE TASLP 14(4), 2006, for one source.

    Args:
        ref: clean speech, shape (N,), not constant.
        inf: the speech to judge, shape (N,).
    """
    from scipy.fft import irfft, next_fast_len, rfft
    from scipy.linalg import solve_toeplitz

    n_fft = next_fast_len(len(ref) + FILTER_TAPS - 1, real=True)
    ref_spectrum = rfft(ref, n_fft)
    auto = irfft(np.abs(ref_spectrum) ** 2, n_fft)[:FILTER_TAPS]
    cross = irfft(np.conj(ref_spectrum) * rfft(inf, n_fft), n_fft)[:FILTER_TAPS]
    # Resampled speech has bands with no energy: a trace of white noise keeps the matrix regular.
    auto[0] *= 1.0 + 1e-12
    taps = solve_toeplitz(auto, cross)
    target_energy = float(np.dot(cross, taps))
    total = float(np.dot(inf, inf))
    return _decibels(target_energy, total - target_energy)
