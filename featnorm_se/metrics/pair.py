"""One pair of signals in, one dictionary of scores out.

Here are SI_SDR and the measures that have a package, one call each; the composite ones are in
``composite``. ``ref`` is the clean speech and ``inf`` the speech to judge, shape (N,),
``sample_rate`` in Hz.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featnorm_se.data.audio import resample
from featnorm_se.errors import FeatnormError
from featnorm_se.metrics import composite
from featnorm_se.metrics.names import DEFAULT_METRICS, DNSMOS, check_packages, resolve
from featnorm_se.names import SAMPLE_RATE

Array = NDArray[np.float64]

# A perfect copy would read infinity, which spoils every mean: SI_SDR and SDR stay in +-100 dB.
LIMIT_DB = 100.0


def pesq(ref: Array, inf: Array, sample_rate: int, band: str) -> float:
    """PESQ as MOS-LQO (ITU-T P.862.1 for ``nb``, P.862.2 for ``wb``), by the package pesq.

    Raises:
        ValueError: PESQ finds no speech, the signal is too short, or the rate is not one of
            PESQ's.
    """
    from pesq import PesqError
    from pesq import pesq as measure

    rates = (16000,) if band == "wb" else (8000, 16000)
    if sample_rate not in rates:
        raise ValueError(f"needs {' or '.join(map(str, rates))} Hz, not {sample_rate} Hz")
    try:
        return float(measure(sample_rate, ref, inf, band))
    except PesqError as error:
        reason = error.args[0] if error.args else error
        text = reason.decode() if isinstance(reason, bytes) else str(reason)
        raise ValueError(f"finds nothing to score: {text}") from error


def stoi(ref: Array, inf: Array, sample_rate: int, extended: bool = False) -> float:
    """STOI (Taal et al. 2011) or, ``extended``, ESTOI (Jensen and Taal 2016), by pystoi.

    Raises:
        ValueError: fewer than 30 frames (0.4 s) of speech are left without the silence.
    """
    from pystoi import stoi as measure

    with warnings.catch_warnings():
        # pystoi warns and returns 1e-5, which would pass for a score.
        warnings.simplefilter("error", RuntimeWarning)
        try:
            return float(measure(ref, inf, sample_rate, extended=extended))
        except (RuntimeWarning, ValueError) as error:  # ValueError: there is not one frame
            raise ValueError(f"needs 30 frames (0.4 s) of speech: {error}") from error


def si_sdr(ref: Array, inf: Array) -> float:
    """Scale-invariant signal-to-distortion ratio of zero-mean signals, in dB.

    With x, y the signals less their means and a = <y, x> / <x, x>:
    10 log10(|a x|^2 / |a x - y|^2), held in +-100 dB.
    Le Roux, Wisdom, Erdogan and Hershey, "SDR: half-baked or well done?", ICASSP 2019.
    ``ref`` must not be constant.
    """
    ref, inf = ref - ref.mean(), inf - inf.mean()
    with np.errstate(divide="ignore", invalid="ignore"):
        target = (np.dot(inf, ref) / np.dot(ref, ref)) * ref
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


def dnsmos(inf: Array, sample_rate: int) -> dict[str, float]:
    """DNSMOS P.835 (OVRL, SIG, BAK) and P.808, by the package speechmos; no reference is used.

    C. Reddy, V. Gopal and R. Cutler, ICASSP 2022.

    Raises:
        ValueError: the rate is not 16 kHz, or samples lie outside [-1, 1].
    """
    from speechmos import dnsmos as package

    if sample_rate != 16000:
        raise ValueError(f"needs 16000 Hz, not {sample_rate} Hz")
    if np.max(np.abs(inf)) > 1.0:
        raise ValueError("needs samples in [-1, 1]")
    got = package.run(inf, sr=sample_rate)
    return {f"DNSMOS_{n}": float(got[f"{n.lower()}_mos"]) for n in ("OVRL", "SIG", "BAK", "P808")}


MEASURES: dict[str, Callable[[Array, Array, int], float]] = {
    "PESQ_WB": lambda ref, inf, rate: pesq(ref, inf, rate, "wb"),
    "PESQ_NB": lambda ref, inf, rate: pesq(ref, inf, rate, "nb"),
    "STOI": stoi,
    "ESTOI": lambda ref, inf, rate: stoi(ref, inf, rate, extended=True),
    "SI_SDR": lambda ref, inf, rate: si_sdr(ref, inf),
    "SDR": lambda ref, inf, rate: sdr(ref, inf),
    "SSNR": composite.ssnr,
    "LLR": composite.llr,
    "WSS": composite.wss,
}
SHORTEST = 0.1  # seconds: of less, SI_SDR and SDR are high whatever the samples
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
    """Return by metric the scores at the rate that is given, and why others have none.

    Args:
        ref, inf, sample_rate: see ``score_pair``.
        metrics: full names, as from ``resolve``.
        mix: what ``inf`` was made of, (N,); SI_SDRi is over it.

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
            if name in ("SI_SDR", "SDR") and len(clean) < SHORTEST * sample_rate:
                raise ValueError(f"needs {SHORTEST} s")
            value = MEASURES[name](clean, judged, sample_rate)
            if not np.isfinite(value):
                raise ValueError(f"is {value}")
            known[name] = value
        except (ValueError, ArithmeticError) as error:
            reasons[name] = str(error)
    missing = [name for name in COMPOSITE_OF if name not in known]
    if not missing:
        known |= composite.composite(*(known[name] for name in COMPOSITE_OF))
    elif set(COMPOSITES) & needed:
        reason = "; ".join(f"{name} {reasons[name]}" for name in missing)
        reasons |= dict.fromkeys(COMPOSITES, reason)
    if "SI_SDRi" in needed and mix is None:
        reasons["SI_SDRi"] = "needs the input, --mix"
    elif "SI_SDRi" in needed and ("SI_SDR" not in known or np.ptp(np.asarray(mix)) == 0.0):
        reasons["SI_SDRi"] = reasons.get("SI_SDR", "the input, --mix, is silent")
    elif "SI_SDRi" in needed:
        known["SI_SDRi"] = known["SI_SDR"] - si_sdr(clean, np.asarray(mix, np.float64))
    if set(DNSMOS) & needed:  # one run of its models gives all four
        try:
            known |= dnsmos(judged, sample_rate)
        except ValueError as error:
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
        fault = f"other length: the reference has {len(ref)} samples, the other {len(inf)}"
        raise FeatnormError(fault)
    for name, signal in (("reference", ref), ("signal to score", inf)):
        if not len(signal):
            raise FeatnormError(f"the {name} is empty")
        if not np.isfinite(signal).all():
            raise FeatnormError(f"the {name} holds NaN or infinite samples")
        if np.ptp(signal) == 0.0:
            raise FeatnormError(f"the {name} is silent (all samples are equal)")
