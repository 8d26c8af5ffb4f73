"""The composite measures CSIG, CBAK and COVL, and what they are made of: WSS, LLR, SSNR.

Y. Hu and P. C. Loizou, "Evaluation of objective quality measures for speech enhancement", IEEE
Transactions on Audio, Speech and Language Processing 16(1), 2008. All of them look at frames of
30 ms that start every 7.5 ms, under a Hann window. Samples must lie in [-1, 1]: WSS has an
absolute floor, so its value hangs on the scale.

``ref`` is the clean speech and ``inf`` the speech to judge, shape (N,), ``sample_rate`` in Hz.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

FRAME_SECONDS = 0.030
LPC_ORDER = 16
KEPT_SHARE = 0.95
SSNR_LOWEST_DB, SSNR_HIGHEST_DB = -10.0, 35.0
POWER_FLOOR = 1e-10
# Enters the autocorrelation at lag 0 and SSNR's quotients, so that digital silence divides by
# something. It is far below the power of a frame that moves by one step of 24 bits.
SILENCE = 1e-20
K_MAX, K_LOCAL_MAX = 20.0, 1.0

# D. H. Klatt, "Prediction of perceived phonetic distance from critical-band spectra: a first
# step", ICASSP 1982: 25 critical bands, centre and width in Hz.
BAND_CENTRES = (
    *(50.0, 120.0, 190.0, 260.0, 330.0, 400.0, 470.0, 540.0, 617.372, 703.378),
    *(798.717, 904.128, 1020.38, 1148.30, 1288.72, 1442.54, 1610.70, 1794.16),
    *(1993.93, 2211.08, 2446.71, 2701.97, 2978.04, 3276.17, 3597.63),
)
BAND_WIDTHS = (
    *(70.0, 70.0, 70.0, 70.0, 70.0, 70.0, 70.0, 77.3724, 86.0056, 95.3398),
    *(105.411, 116.256, 127.914, 140.423, 153.823, 168.154, 183.457, 199.776),
    *(217.153, 235.631, 255.255, 276.072, 298.126, 321.465, 346.136),
)


def frames(signal: Array, sample_rate: int) -> Array:
    """Cut a signal into windowed frames.

    The window is 0.5 (1 - cos(2 pi n / (N + 1))), n = 1..N, with N the samples of 30 ms; the hop
    is N / 4; the number of frames is int(samples / hop - N / hop). Returns shape (frames, N).

    Raises:
        ValueError: the signal is too short for one frame.
    """
    size = round(FRAME_SECONDS * sample_rate)
    hop = size // 4
    count = int(len(signal) / hop - size / hop)
    if count < 1:
        raise ValueError(f"{len(signal)} samples are too few, {size + hop} are needed")
    view = np.lib.stride_tricks.sliding_window_view(signal, size)[::hop][:count]
    window = 0.5 * (1 - np.cos(2 * np.pi * np.arange(1, size + 1) / (size + 1)))
    return np.asarray(view * window)


@lru_cache(maxsize=4)
def critical_bands(sample_rate: int, n_fft: int) -> Array:
    """Return the 25 Gaussian critical-band filters, shape (25, n_fft / 2), for power spectra.

    exp(-11 ((j - floor(f0)) / bw)^2 + ln(70 / width)) over the bins j, with f0 and bw the band's
    centre and width in bins; at or below exp(-30 / (2 * 2.303)) it is zero (Klatt 1982).
    """
    bins_per_hz = n_fft / sample_rate
    widths = np.array(BAND_WIDTHS)[:, None]
    centres = np.floor(np.array(BAND_CENTRES) * bins_per_hz)[:, None]
    offset = (np.arange(n_fft // 2)[None] - centres) / (widths * bins_per_hz)
    weights = np.exp(-11.0 * offset**2 + np.log(BAND_WIDTHS[0] / widths))
    weights[weights <= np.exp(-30.0 / (2 * 2.303))] = 0.0
    return np.asarray(weights)


def _nearest_peak(bands: Array, slopes: Array) -> Array:
    """Return the level (dB) of the peak that each slope leads to, shape (frames, 24).

    From a rising slope one walks up to where the rise ends, from a falling one down to where the
    fall began. As in the published figures, a rise is said to peak one band before its top.
    """
    count = slopes.shape[1]
    position = np.arange(count)
    rising = slopes > 0
    # The first falling slope at or after i, and the last rising one at or before it.
    ends = np.where(rising, count, position)
    ends = np.minimum.accumulate(ends[:, ::-1], axis=1)[:, ::-1]
    begins = np.maximum.accumulate(np.where(rising, position, -1), axis=1)
    return np.asarray(np.take_along_axis(bands, np.where(rising, ends - 1, begins + 1), axis=1))


def _slopes_and_weights(framed: Array, sample_rate: int) -> tuple[Array, Array]:
    """Return the band slopes (dB) of windowed frames and Klatt's weight of each: (frames, 24)."""
    n_fft = 2 ** int(np.ceil(np.log2(2 * framed.shape[1])))
    power = np.abs(np.fft.rfft(framed, n_fft)[:, : n_fft // 2]) ** 2
    bands = 10.0 * np.log10(np.maximum(power @ critical_bands(sample_rate, n_fft).T, POWER_FLOOR))
    slopes = np.diff(bands, axis=1)
    below_peak = bands.max(axis=1, keepdims=True) - bands[:, :-1]
    below_local = _nearest_peak(bands, slopes) - bands[:, :-1]
    weights = (K_MAX / (K_MAX + below_peak)) * (K_LOCAL_MAX / (K_LOCAL_MAX + below_local))
    return slopes, weights


def _trimmed_mean(values: Array) -> float:
    """Return the mean of the lowest 95 % (their number rounded) of the frames' values."""
    return float(np.mean(np.sort(values)[: max(1, round(KEPT_SHARE * len(values)))]))


def wss(ref: Array, inf: Array, sample_rate: int) -> float:
    """Weighted spectral slope distance (Klatt 1982), 0 for equal spectra; lower is better.

    Per frame sum_k W_k (S_k - S'_k)^2 / sum_k W_k over the 24 slopes between 25 critical bands
    (dB), W the mean of both signals' weights
    20 / (20 + max_j E_j - E_k) * 1 / (1 + peak_k - E_k). The mean of the lowest 95 % of frames.
    """
    ref_slopes, ref_weights = _slopes_and_weights(frames(ref, sample_rate), sample_rate)
    inf_slopes, inf_weights = _slopes_and_weights(frames(inf, sample_rate), sample_rate)
    weights = 0.5 * (ref_weights + inf_weights)
    distance = np.sum(weights * (ref_slopes - inf_slopes) ** 2, axis=1)
    return _trimmed_mean(distance / weights.sum(axis=1))


def _autocorrelation(framed: Array, order: int) -> Array:
    """Return lags 0..order of each frame, shape (frames, order + 1)."""
    size = framed.shape[1]
    lags = [np.einsum("tn,tn->t", framed[:, : size - k], framed[:, k:]) for k in range(order + 1)]
    correlation = np.stack(lags, axis=1)
    correlation[:, 0] += SILENCE
    return correlation


def _lpc(correlation: Array) -> Array:
    """Return the prediction-error filters (1, a_1..a_p) of lags 0..p, both (frames, p + 1).

    By Levinson and Durbin's recursion.
    """
    filters = np.zeros_like(correlation)
    filters[:, 0] = 1.0
    error = correlation[:, 0].copy()
    for order in range(1, correlation.shape[1]):
        reach = correlation[:, order:0:-1]
        reflection = -np.einsum("tk,tk->t", filters[:, :order], reach) / error
        update = reflection[:, None] * filters[:, order::-1]
        filters[:, : order + 1] += update
        # Rounding may take a frame that predicts itself fully to zero or just below.
        error = np.maximum(error * (1.0 - reflection**2), SILENCE * 1e-6)
    return filters


def llr(ref: Array, inf: Array, sample_rate: int) -> float:
    """Log-likelihood ratio of LPC models, 0 for equal envelopes; lower is better.

    Per frame ln(a' R a'^T / a R a^T), a and a' the order-16 prediction filters of the clean and
    the judged frame, R the clean frame's autocorrelation matrix (Hu and Loizou 2008). The mean
    of the lowest 95 % of frames. A silent frame predicts nothing: its filter is (1, 0, ..., 0).
    Order 16 is meant for 16 kHz.
    """
    ref_correlation = _autocorrelation(frames(ref, sample_rate), LPC_ORDER)
    inf_correlation = _autocorrelation(frames(inf, sample_rate), LPC_ORDER)
    lag = np.abs(np.subtract.outer(np.arange(LPC_ORDER + 1), np.arange(LPC_ORDER + 1)))
    matrix = ref_correlation[:, lag]

    def prediction_error(filters: Array) -> Array:
        return np.asarray(np.einsum("ti,tij,tj->t", filters, matrix, filters, optimize=True))

    judged = prediction_error(_lpc(inf_correlation))
    clean = prediction_error(_lpc(ref_correlation))
    return _trimmed_mean(np.log(np.maximum(judged, SILENCE) / np.maximum(clean, SILENCE)))


def ssnr(ref: Array, inf: Array, sample_rate: int) -> float:
    """Segmental signal-to-noise ratio in dB; higher is better.

    The mean over frames of 10 log10(sum x^2 / sum (x - y)^2), each clamped to [-10, 35] dB. A
    frame without any error counts 35 dB, digital silence too. Both must be at the same level.
    """
    clean = np.sum(frames(ref, sample_rate) ** 2, axis=1)
    noise = np.sum(frames(ref - inf, sample_rate) ** 2, axis=1)
    ratio = 10.0 * np.log10((clean + SILENCE) / (noise + SILENCE))
    ratio[noise <= SILENCE] = SSNR_HIGHEST_DB
    return float(np.mean(np.clip(ratio, SSNR_LOWEST_DB, SSNR_HIGHEST_DB)))


def composite(
    pesq_wb: float, llr_value: float, wss_value: float, ssnr_value: float
) -> dict[str, float]:
    """Combine the parts into CSIG (signal), CBAK (background) and COVL (overall), each in [1, 5].

    CSIG = 3.093 - 1.029 LLR + 0.603 PESQ_WB - 0.009 WSS
    CBAK = 1.634 + 0.478 PESQ_WB - 0.007 WSS + 0.063 SSNR
    COVL = 1.594 + 0.805 PESQ_WB - 0.512 LLR - 0.007 WSS
    (Hu and Loizou 2008)
    """
    raw = {
        "CSIG": 3.093 - 1.029 * llr_value + 0.603 * pesq_wb - 0.009 * wss_value,
        "CBAK": 1.634 + 0.478 * pesq_wb - 0.007 * wss_value + 0.063 * ssnr_value,
        "COVL": 1.594 + 0.805 * pesq_wb - 0.512 * llr_value - 0.007 * wss_value,
    }
    return {name: float(np.clip(value, 1.0, 5.0)) for name, value in raw.items()}
