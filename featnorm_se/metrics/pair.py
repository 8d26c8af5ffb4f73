"""One pair of signals in, one dictionary of scores out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featnorm_se.errors import FeatnormError
from featnorm_se.metrics import composite, distortion, perceptual
from featnorm_se.metrics.names import DEFAULT_METRICS, DNSMOS, resolve, tell
from featnorm_se.metrics.perceptual import CannotScore

Array = NDArray[np.float64]

_PARTS = {
    "CSIG": ("PESQ_WB", "LLR", "WSS", "SSNR"),
    "CBAK": ("PESQ_WB", "LLR", "WSS", "SSNR"),
    "COVL": ("PESQ_WB", "LLR", "WSS", "SSNR"),
}


def score_pair(
    ref: NDArray[np.floating[Any]],
    inf: NDArray[np.floating[Any]],
    sample_rate: int = 16000,
    metrics: Sequence[str] = DEFAULT_METRICS,
) -> dict[str, float]:
    """Score one utterance. The signals are taken as they are: no level change, no alignment.

    Args:
        ref: clean speech in [-1, 1], shape (N,).
        inf: the speech to judge, shape (N,).
        sample_rate: in Hz.
        metrics: names of ``featnorm_se.metrics.METRICS``, or ``DNSMOS`` for its four.

    Returns:
        The scores by name, in the table's order.

    Raises:
        FeatnormError: a metric is unknown, the signals differ in length, are silent or hold NaN,
            or one measure has no value for them; the message says which.
    """
    scores, reasons = score_measures(ref, inf, sample_rate, resolve(metrics))
    if reasons:
        raise FeatnormError("; ".join(tell(reasons)))
    return scores


def score_measures(
    ref: NDArray[np.floating[Any]],
    inf: NDArray[np.floating[Any]],
    sample_rate: int,
    metrics: Sequence[str],
) -> tuple[dict[str, float], dict[str, str]]:
    """Score one utterance, measure by measure: one that fails does not take others with it.

    Args:
        ref: clean speech in [-1, 1], shape (N,).
        inf: the speech to judge, shape (N,).
        sample_rate: in Hz.
        metrics: full names, as from ``resolve``.

    Returns:
        The scores by name, and the reasons by name of those that have no value.

    Raises:
        FeatnormError: the signals differ in length, are silent or hold NaN, or a package is
            missing.
    """
    clean: Array = np.asarray(ref, dtype=np.float64)
    judged: Array = np.asarray(inf, dtype=np.float64)
    _check(clean, judged)
    known: dict[str, float] = {}
    reasons: dict[str, str] = {}
    needed = list(metrics)
    for name in metrics:
        needed = [part for part in _PARTS.get(name, ()) if part not in needed] + needed
    simple = _simple_measures(clean, judged, sample_rate)
    for name in needed:
        if name in simple:
            try:
                value = simple[name]()
                if not np.isfinite(value):
                    raise CannotScore(f"is {value}")
                known[name] = value
            except (CannotScore, ValueError, ArithmeticError) as error:
                reasons[name] = str(error)
    _add_composites(known, reasons, metrics)
    _add_dnsmos(known, reasons, metrics, judged, sample_rate)
    scores = {name: known[name] for name in metrics if name in known}
    return scores, {name: reasons[name] for name in metrics if name in reasons}


def _check(ref: Array, inf: Array) -> None:
    """Raise FeatnormError for a pair that no measure can be asked about."""
    if ref.ndim != 1 or inf.ndim != 1:
        raise FeatnormError(f"one channel is wanted, the shapes are {ref.shape} and {inf.shape}")
    if len(ref) != len(inf):
        raise FeatnormError(
            f"other length: the reference has {len(ref)} samples, the other {len(inf)}"
        )
    for name, signal in (("reference", ref), ("signal to score", inf)):
        if not len(signal):
            raise FeatnormError(f"the {name} is empty")
        if not np.isfinite(signal).all():
            raise FeatnormError(f"the {name} holds NaN or infinite samples")
        if np.ptp(signal) == 0.0:
            raise FeatnormError(f"the {name} is silent (all samples are equal)")


def _simple_measures(ref: Array, inf: Array, rate: int) -> dict[str, Callable[[], float]]:
    """Return what computes each measure that hangs on no other one."""
    at_stoi_rate = cache(lambda: perceptual.to_stoi_rate(ref, inf, rate))
    return {
        "PESQ_WB": lambda: perceptual.pesq(ref, inf, rate, "wb"),
        "PESQ_NB": lambda: perceptual.pesq(ref, inf, rate, "nb"),
        "STOI": lambda: perceptual.stoi(*at_stoi_rate(), perceptual.STOI_RATE),
        "ESTOI": lambda: perceptual.stoi(*at_stoi_rate(), perceptual.STOI_RATE, extended=True),
        "SI_SDR": lambda: distortion.si_sdr(ref, inf),
        "SDR": lambda: distortion.sdr(ref, inf),
        "SSNR": lambda: composite.ssnr(ref, inf, rate),
        "LLR": lambda: composite.llr(ref, inf, rate),
        "WSS": lambda: composite.wss(ref, inf, rate),
    }


def _add_composites(
    known: dict[str, float], reasons: dict[str, str], metrics: Sequence[str]
) -> None:
    """Add CSIG, CBAK, COVL where their parts are known, else the part's reason."""
    for name in (name for name in metrics if name in _PARTS):
        missing = [part for part in _PARTS[name] if part not in known]
        if missing:
            reasons[name] = "; ".join(f"{part} {reasons[part]}" for part in missing)
        else:
            values = (known[part] for part in _PARTS[name])
            known[name] = composite.composite(*values)[name]


def _add_dnsmos(
    known: dict[str, float],
    reasons: dict[str, str],
    metrics: Sequence[str],
    inf: Array,
    rate: int,
) -> None:
    """Add the DNSMOS scores that are asked for: one run of its models gives all four."""
    names = [name for name in metrics if name in DNSMOS]
    if not names:
        return
    try:
        known.update(perceptual.dnsmos(inf, rate))
    except CannotScore as error:
        reasons.update(dict.fromkeys(names, str(error)))
