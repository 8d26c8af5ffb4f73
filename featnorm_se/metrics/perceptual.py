"""PESQ, STOI and DNSMOS by their packages, with every fault told as one reason."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

from featnorm_se.errors import FeatnormError
from featnorm_se.metrics.fast_stoi import FRAME, STOI_RATE, pystoi, resample

Array = NDArray[np.float64]


class CannotScore(Exception):
    """A measure has no value for a pair; the text is the reason."""


def pesq(ref: Array, inf: Array, sample_rate: int, band: str) -> float:
    """PESQ as MOS-LQO (ITU-T P.862.1 for ``nb``, P.862.2 for ``wb``), by the package pesq.

    Args:
        ref: clean speech, shape (N,).
        inf: the speech to judge, shape (N,).
        sample_rate: 16000, or 8000 for ``nb``.
        band: ``wb`` or ``nb``.

    Raises:
        CannotScore: PESQ finds no speech, the signal is too short, or the rate is not one of
            PESQ's.
    """
    from pesq import PesqError
    from pesq import pesq as measure

    rates = (16000,) if band == "wb" else (8000, 16000)
    if sample_rate not in rates:
        raise CannotScore(f"needs {' or '.join(map(str, rates))} Hz, not {sample_rate} Hz")
    try:
        return float(measure(sample_rate, ref, inf, band))
    except PesqError as error:
        told = error.args[0] if error.args else error
        text = told.decode() if isinstance(told, bytes) else str(told)
        raise CannotScore(f"finds nothing to score: {text}") from error


def to_stoi_rate(ref: Array, inf: Array, sample_rate: int) -> tuple[Array, Array]:
    """Bring both signals to the 10 kHz that STOI is defined at, for STOI and ESTOI alike.

    Args:
        ref: clean speech, shape (N,).
        inf: the speech to judge, shape (N,).
        sample_rate: in Hz.

    Returns:
        Both at 10 kHz, shape (ceil(N * 10000 / sample_rate),).
    """
    return resample(ref, sample_rate), resample(inf, sample_rate)


def stoi(ref: Array, inf: Array, sample_rate: int, extended: bool = False) -> float:
    """STOI (Taal et al. 2011) or ESTOI (Jensen and Taal 2016), by the package pystoi.

    Args:
        ref: clean speech, shape (N,).
        inf: the speech to judge, shape (N,).
        sample_rate: in Hz.
        extended: ESTOI.

    Raises:
        CannotScore: fewer than 30 frames (0.4 s) of speech are left without the silence.
    """
    package = pystoi()
    if sample_rate != STOI_RATE:
        ref, inf = to_stoi_rate(ref, inf, sample_rate)
    if len(ref) <= FRAME:
        raise CannotScore("needs 30 frames (0.4 s) of speech")
    with warnings.catch_warnings():
        # pystoi warns and returns 1e-5, which would pass for a score.
        warnings.simplefilter("error", RuntimeWarning)
        try:
            return float(package.stoi(ref, inf, STOI_RATE, extended=extended))
        except RuntimeWarning as warning:
            raise CannotScore("needs 30 frames (0.4 s) of speech") from warning


def dnsmos(inf: Array, sample_rate: int) -> dict[str, float]:
    """DNSMOS P.835 (OVRL, SIG, BAK) and P.808, by the package speechmos; no reference is used.

    C. Reddy, V. Gopal and R. Cutler, ICASSP 2022.

    Args:
        inf: the speech to judge in [-1, 1], shape (N,).
        sample_rate: 16000.

    Raises:
        FeatnormError: speechmos is not installed, or a package that it needs.
        CannotScore: the rate is not 16 kHz, or samples lie outside [-1, 1].
    """
    try:
        from speechmos import dnsmos as package
    except ImportError as error:
        raise FeatnormError(
            f"DNSMOS needs the extra packages ({error}): pip install 'featnorm_se[dnsmos]', or"
            " leave DNSMOS out of --metrics"
        ) from error
    if sample_rate != 16000:
        raise CannotScore(f"needs 16000 Hz, not {sample_rate} Hz")
    if np.max(np.abs(inf)) > 1.0:
        raise CannotScore("needs samples in [-1, 1]")
    scores = package.run(inf, sr=sample_rate)
    return {
        f"DNSMOS_{name}": float(scores[f"{name.lower()}_mos"])
        for name in ("OVRL", "SIG", "BAK", "P808")
    }
