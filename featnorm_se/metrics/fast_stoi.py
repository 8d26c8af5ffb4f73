"""The package pystoi without its waits: the same numbers from it in a third of the time.

pystoi goes frame by frame in Python, multiplies by diagonal matrices, computes its resampling
filter for every signal, and loads SciPy's whole signal room for one function of it. Here its
helpers work on all frames at once, with the same operations in the same order: their results are
the package's, bit by bit. Resampling from rates such as 8, 16, 32 and 48 kHz is one matrix
product, which adds in another order: there the last bits differ (1e-15 of full scale). What STOI
and ESTOI are stays the package's.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from importlib import import_module
from math import gcd
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

STOI_RATE = 10000
FRAME = 256
PERIODS = 8  # of the resampling filter in a block: fewer and larger rows suit the processor
LARGEST_UP = 10  # 44.1 kHz has up = 100: its matrix would be large and nearly empty
_VERSION = "0.4.1"  # the one whose helpers these are; another keeps its own


@lru_cache(maxsize=1)
def pystoi() -> ModuleType:
    """Import the package and give it the quick helpers. Raises ImportError when it is absent."""
    package = _import_lightly()
    if getattr(package, "__version__", "") == _VERSION:
        utils: Any = import_module("pystoi.utils")
        utils.stft = _stft
        utils.remove_silent_frames = _remove_silent_frames
        utils.row_col_normalize = _row_col_normalize
    return package


def _import_lightly() -> ModuleType:
    """Import pystoi with a stand-in for ``scipy.signal``, which takes 0.7 s to load.

    pystoi wants ``resample_poly`` of it, and calls that only for a rate other than 10 kHz. The
    stand-in's loads the real one when it is called.
    """
    name = "scipy.signal"
    if name in sys.modules or "pystoi" in sys.modules:
        return import_module("pystoi")

    def resample_poly(*args: Any, **kwargs: Any) -> Any:
        return import_module(name).resample_poly(*args, **kwargs)

    stand_in = ModuleType(name)
    stand_in.resample_poly = resample_poly  # type: ignore[attr-defined]
    sys.modules[name] = stand_in
    try:
        return import_module("pystoi")
    except ImportError:
        del sys.modules[name]  # another pystoi, which wants more of it
        return import_module("pystoi")
    finally:
        if sys.modules.get(name) is stand_in:
            del sys.modules[name]


@lru_cache(maxsize=4)
def _filter_bank(up: int, down: int) -> tuple[Array, int]:
    """Return the resampling filter as a matrix for a block, and the samples it looks back.

    Row r of the bank, shape (PERIODS * up, width), holds the weights of the samples from ``back``
    before the block's first on, for the r-th output of a block of PERIODS * down samples.
    """
    window = import_module("pystoi.utils")._resample_window_oct(up, down)
    taps = window / np.sum(window) * up
    half = (len(taps) - 1) // 2
    # Output r of a block looks at sample j through tap r * down - j * up + half.
    back = half // up
    width = back + ((PERIODS * up - 1) * down + half) // up + 1
    bank = np.zeros((PERIODS * up, width))
    for phase in range(len(bank)):
        at = phase * down - (np.arange(width) - back) * up + half
        inside = (at >= 0) & (at < len(taps))
        bank[phase, inside] = taps[at[inside]]
    return bank, back


def resample(signal: Array, sample_rate: int) -> Array:
    """Resample to 10 kHz with pystoi's filter (Octave's ``resample``: Kaiser window, 60 dB).

    Args:
        signal: shape (N,).
        sample_rate: in Hz.

    Returns:
        Shape (ceil(N * 10000 / sample_rate),).
    """
    if sample_rate == STOI_RATE:
        return signal
    pystoi()
    divisor = gcd(STOI_RATE, sample_rate)
    up, down = STOI_RATE // divisor, sample_rate // divisor
    if up > LARGEST_UP:
        utils: Any = import_module("pystoi.utils")
        return np.asarray(utils.resample_oct(signal, STOI_RATE, sample_rate))
    bank, back = _filter_bank(up, down)
    count = -(-len(signal) * up // down)
    outputs, width = bank.shape
    blocks = -(-count // outputs)
    padded = np.zeros((blocks - 1) * PERIODS * down + width)
    room = min(len(signal), len(padded) - back)
    padded[back : back + room] = signal[:room]
    views = np.lib.stride_tricks.sliding_window_view(padded, width)[:: PERIODS * down]
    return np.asarray((np.ascontiguousarray(views) @ bank.T).reshape(-1)[:count])


def _windowed(x: Array, size: int, hop: int) -> Array:
    """Cut ``x`` as pystoi does, under a Hann window without its zeros: shape (frames, size)."""
    count = len(range(0, len(x) - size, hop))
    if not count:
        return np.zeros((0, size))
    view = np.lib.stride_tricks.sliding_window_view(x, size)[::hop][:count]
    return np.asarray(np.hanning(size + 2)[1:-1] * view)


def _stft(x: Array, win_size: int, fft_size: int, overlap: int = 4) -> NDArray[np.complex128]:
    framed = _windowed(x, win_size, int(win_size / overlap))
    return np.asarray(np.fft.rfft(framed, n=fft_size))


def _remove_silent_frames(
    x: Array, y: Array, dyn_range: float, framelen: int, hop: int
) -> tuple[Array, Array]:
    utils = import_module("pystoi.utils")
    x_frames, y_frames = _windowed(x, framelen, hop), _windowed(y, framelen, hop)
    energies = 20 * np.log10(np.linalg.norm(x_frames, axis=1) + utils.EPS)
    mask = (np.max(energies) - dyn_range - energies) < 0
    return utils._overlap_and_add(x_frames[mask], hop), utils._overlap_and_add(y_frames[mask], hop)


def _row_col_normalize(x: Array) -> Array:
    eps = import_module("pystoi.utils").EPS
    for axis in (2, 1):
        # pystoi's grain of noise, from the same generator: no row is constant.
        x = x + eps * np.random.standard_normal(x.shape)  # noqa: NPY002
        x -= np.mean(x, axis=axis, keepdims=True)
        x = x * (1.0 / np.sqrt(np.sum(np.square(x), axis=axis, keepdims=True)))
    return x
