"""The measures that have a package, from PESQ to DNSMOS, and SI_SDR: one call each.

``ref`` is the clean speech and ``inf`` the speech to judge, shape (N,), ``sample_rate`` in Hz.
"""

from __future__ import annotations

import sys
import warnings
from contextlib import redirect_stdout
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# A perfect copy would read infinity, which spoils every mean: SI_SDR and SDR stay in +-100 dB.
LIMIT_DB = 100.0


class CannotScore(Exception):
    """A measure has no value for a pair; the text is the reason."""


def pesq(ref: Array, inf: Array, sample_rate: int, band: str) -> float:
    """PESQ as MOS-LQO (ITU-T P.862.1 for ``nb``, P.862.2 for ``wb``), by the package pesq.

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
        reason = error.args[0] if error.args else error
        text = reason.decode() if isinstance(reason, bytes) else str(reason)
        raise CannotScore(f"finds nothing to score: {text}") from error


def stoi(ref: Array, inf: Array, sample_rate: int, extended: bool = False) -> float:
    """STOI (Taal et al. 2011) or, ``extended``, ESTOI (Jensen and Taal 2016), by pystoi.

    Raises:
        CannotScore: fewer than 30 frames (0.4 s) of speech are left without the silence.
    """
    from pystoi import stoi as measure

    with warnings.catch_warnings():
        # pystoi warns and returns 1e-5, which would pass for a score.
        warnings.simplefilter("error", RuntimeWarning)
        try:
            return float(measure(ref, inf, sample_rate, extended=extended))
        except (RuntimeWarning, ValueError) as error:  # ValueError: there is not one frame
            raise CannotScore("needs 30 frames (0.4 s) of speech") from error


def si_sdr(ref: Array, inf: Array) -> float:
    """Scale-invariant signal-to-distortion ratio of zero-mean signals, in dB.

    With x, y the signals less their means and a = <y, x> / <x, x>:
    10 log10(|a x|^2 / |a x - y|^2), held in +-100 dB.
    Le Roux, Wisdom, Erdogan and Hershey, "SDR: half-baked or well done?", ICASSP 2019.
    ``ref`` must not be constant.
    """
    ref, inf = ref - ref.mean(), inf - inf.mean()
    target = (np.dot(inf, ref) / np.dot(ref, ref)) * ref
    with np.errstate(divide="ignore"):
        ratio = np.sum(target**2) / np.sum((inf - target) ** 2)
        return float(np.clip(10.0 * np.log10(ratio), -LIMIT_DB, LIMIT_DB))


def sdr(ref: Array, inf: Array) -> float:
    """Signal-to-distortion ratio as BSS-eval has it, in dB, by the package fast_bss_eval.

    The target is the clean speech through the filter of 512 taps that comes nearest to ``inf``.
    Vincent, Gribonval and Fevotte, "Performance measurement in blind audio source separation",
    IEEE TASLP 14(4), 2006, for one source. Held in +-100 dB. ``ref`` must not be constant.
    """
    # It loads torch, which takes a second: SI_SDR, which everybody scores, does without.
    from fast_bss_eval import sdr as measure

    # Resampled speech has bands with no energy: a trace of white noise keeps the matrix regular.
    return float(measure(ref[None], inf[None], clamp_db=LIMIT_DB, load_diag=1e-12)[0])


def distillmos(inf: Array, sample_rate: int) -> float:
    """Overall quality as DistillMOS predicts it, by the package distillmos; no reference is used.

    B. Stahl and H. Gamper, "Distillation and Pruning for Scalable Self-Supervised
    Representation-Based Speech Quality Assessment", ICASSP 2025.

    Raises:
        CannotScore: the rate is not 16 kHz.
    """
    import torch

    if sample_rate != 16000:
        raise CannotScore(f"needs 16000 Hz, not {sample_rate} Hz")
    with torch.inference_mode():
        return float(_distillmos()(torch.from_numpy(inf).float()[None]))


@cache
def _distillmos() -> Any:
    """Load the model that the package carries, once a process."""
    from distillmos import ConvTransformerSQAModel

    with redirect_stdout(sys.stderr):  # it tells where its weights are
        return ConvTransformerSQAModel().eval()


def dnsmos(inf: Array, sample_rate: int) -> dict[str, float]:
    """DNSMOS P.835 (OVRL, SIG, BAK) and P.808, by the package speechmos; no reference is used.

    C. Reddy, V. Gopal and R. Cutler, ICASSP 2022.

    Raises:
        CannotScore: the rate is not 16 kHz, or samples lie outside [-1, 1].
    """
    from speechmos import dnsmos as package

    if sample_rate != 16000:
        raise CannotScore(f"needs 16000 Hz, not {sample_rate} Hz")
    if np.max(np.abs(inf)) > 1.0:
        raise CannotScore("needs samples in [-1, 1]")
    scores = package.run(inf, sr=sample_rate)
    return {
        f"DNSMOS_{name}": float(scores[f"{name.lower()}_mos"])
        for name in ("OVRL", "SIG", "BAK", "P808")
    }
