"""One pair of signals in, one dictionary of scores out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featnorm_se.data.audio import resample
from featnorm_se.errors import FeatnormError
from featnorm_se.metrics import composite, measures
from featnorm_se.metrics.measures import CannotScore
from featnorm_se.metrics.names import DEFAULT_METRICS, DNSMOS, check_packages, resolve
from featnorm_se.names import SAMPLE_RATE

Array = NDArray[np.float64]

MEASURES: dict[str, Callable[[Array, Array, int], float]] = {
    "PESQ_WB": lambda ref, inf, rate: measures.pesq(ref, inf, rate, "wb"),
    "PESQ_NB": lambda ref, inf, rate: measures.pesq(ref, inf, rate, "nb"),
    "STOI": measures.stoi,
    "ESTOI": lambda ref, inf, rate: measures.stoi(ref, inf, rate, extended=True),
    "SI_SDR": lambda ref, inf, rate: measures.si_sdr(ref, inf),
    "SDR": lambda ref, inf, rate: measures.sdr(ref, inf),
    "SSNR": composite.ssnr,
    "LLR": composite.llr,
    "WSS": composite.wss,
}
COMPOSITES = ("CSIG", "CBAK", "COVL")
COMPOSITE_OF = ("PESQ_WB", "LLR", "WSS", "SSNR")


def score_pair(
    ref: NDArray[np.floating[Any]],
    inf: NDArray[np.floating[Any]],
    sample_rate: int = 16000,
    metrics: Sequence[str] = DEFAULT_METRICS,
) -> dict[str, float]:
    """Score one utterance: no level change, no alignment; rates above 16 kHz become 16 kHz.

    Args:
        ref: clean speech in [-1, 1], shape (N,).
        inf: the speech to judge, shape (N,).
        sample_rate: in Hz.
        metrics: names of ``featnorm_se.metrics.METRICS``, or ``DNSMOS`` for its four.

    Returns:
        The scores by name, in the table's order.

    Raises:
        FeatnormError: a metric is unknown or its package is missing, the signals differ in
            length, are silent or hold NaN, or one measure has no value for them.
    """
    names = resolve(metrics)
    check_packages(names)
    ref, rate = at_scoring_rate(ref, sample_rate)
    scores, reasons = score_measures(ref, at_scoring_rate(inf, sample_rate)[0], rate, names)
    if reasons:
        raise FeatnormError(join_reasons(reasons))
    return scores


def at_scoring_rate(
    samples: NDArray[np.floating[Any]], rate: int
) -> tuple[NDArray[np.floating[Any]], int]:
    """Return a signal, shape (N,), and its rate in Hz, at 16 kHz where it has a higher one.

    By the resampler of the recipes. A lower rate stays: speech that was made up to 8 kHz would get
    the scores of a wide band that is not there.
    """
    if rate <= SAMPLE_RATE:
        return samples, rate
    return resample(samples.astype(np.float32), rate, SAMPLE_RATE), SAMPLE_RATE


def score_measures(
    ref: NDArray[np.floating[Any]],
    inf: NDArray[np.floating[Any]],
    sample_rate: int,
    metrics: Sequence[str],
    mix: NDArray[np.floating[Any]] | None = None,
) -> tuple[dict[str, float], dict[str, str]]:
    """Score at the rate that is given; one measure that fails does not take others with it.

    Args:
        ref, inf, sample_rate: see ``score_pair``.
        metrics: full names, as from ``resolve``.
        mix: what ``inf`` was made of, (N,); SI_SDRi is over it.

    Returns:
        The scores by name, and the reasons by name of those that have no value.

    Raises:
        FeatnormError: the signals differ in length, are silent or hold NaN.
    """
    clean: Array = np.asarray(ref, dtype=np.float64)
    judged: Array = np.asarray(inf, dtype=np.float64)
    _check(clean, judged)
    known: dict[str, float] = {}
    reasons: dict[str, str] = {}
    needed = {*metrics, *(COMPOSITE_OF if set(COMPOSITES) & set(metrics) else ())}
    needed |= {"SI_SDR"} if "SI_SDRi" in metrics else set()
    for name in (name for name in MEASURES if name in needed):
        try:
            value = MEASURES[name](clean, judged, sample_rate)
            if not np.isfinite(value):
                raise CannotScore(f"is {value}")
            known[name] = value
        except (CannotScore, ValueError, ArithmeticError) as error:
            reasons[name] = str(error)
    missing = [name for name in COMPOSITE_OF if name not in known]
    if not missing:
        known |= composite.composite(*(known[name] for name in COMPOSITE_OF))
    elif set(COMPOSITES) & needed:
        reason = "; ".join(f"{name} {reasons[name]}" for name in missing)
        reasons |= dict.fromkeys(COMPOSITES, reason)
    if "SI_SDRi" in needed and mix is None:
        reasons["SI_SDRi"] = "needs the input, --mix"
    elif "SI_SDRi" in needed and "SI_SDR" in known:
        known["SI_SDRi"] = known["SI_SDR"] - measures.si_sdr(clean, np.asarray(mix, np.float64))
    if set(DNSMOS) & needed:  # one run of its models gives all four
        try:
            known |= measures.dnsmos(judged, sample_rate)
        except CannotScore as error:
            reasons |= dict.fromkeys(DNSMOS, str(error))
    scores = {name: known[name] for name in metrics if name in known}
    return scores, {name: reasons[name] for name in metrics if name in reasons}


def join_reasons(reasons: Mapping[str, str]) -> str:
    """Write reasons by measure in one line; measures with the same reason stand together."""
    measures_of: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        measures_of.setdefault(reason, []).append(name)
    return "; ".join(f"{', '.join(names)}: {reason}" for reason, names in measures_of.items())


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
