"""How a difference of two rows hangs on the utterance: its SNR, its noise, its length."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from estimate import Estimate, of_contrast

from featnorm_se.files import csv_text
from featnorm_se.report.paired import Contrast

Conditions = Mapping[str, tuple[str, float]]
LENGTHS = (2.0, 3.0, 4.0)  # seconds, where the bins of length meet


@dataclass(frozen=True)
class Gain:
    """A mean difference among some utterances.

    Attributes:
        label: of the pair of rows.
        metric: the metric's name.
        kind: ``all``, ``SNR (dB)``, ``noise``, ``length (s)``, or a trend, ``per dB`` and
            ``per s``.
        value: which SNR, noise or range of lengths; empty for ``all`` and trends.
        seeds, utterances: how many it is of.
        estimate: the mean, or the slope, with its interval.
    """

    label: str
    metric: str
    kind: str
    value: str
    seeds: int
    utterances: int
    estimate: Estimate


def gains(
    label: str,
    metric: str,
    difference: Contrast,
    conditions: Conditions,
    seconds: Mapping[str, float],
) -> Iterator[Gain]:
    """Yield a difference's mean among the utterances of each condition, and its trends.

    Args:
        label, metric: see ``Gain``.
        difference: the difference.
        conditions: noise type and SNR in dB by utterance.
        seconds: length by utterance.
    """
    for kind, value, names in _bins(difference.utterances, conditions, seconds):
        part = _among(difference, names)
        if part.utterances:
            estimate = of_contrast(part)
            counts = (len(part.seeds), len(part.utterances))
            yield Gain(label, metric, kind, value, *counts, estimate)
    levels = {name: snr for name, (_, snr) in conditions.items()}
    for kind, numbers in (("per dB", levels), ("per s", seconds)):
        part = _among(difference, numbers.keys())
        if part.utterances and len({numbers[name] for name in part.utterances}) > 1:
            counts = (len(part.seeds), len(part.utterances))
            yield Gain(label, metric, kind, "", *counts, _trend(part, numbers))


def _bins(
    names: Sequence[str], conditions: Conditions, seconds: Mapping[str, float]
) -> Iterator[tuple[str, str, set[str]]]:
    """Yield kind, value and utterances of every condition."""
    yield "all", "", set(names)
    known = {name: conditions[name] for name in names if name in conditions}
    for snr in sorted({snr for _, snr in known.values()}):
        yield "SNR (dB)", f"{snr:g}", {name for name in known if known[name][1] == snr}
    for noise in sorted({noise for noise, _ in known.values()}):
        yield "noise", noise, {name for name in known if known[name][0] == noise}
    for low, high in zip((0.0, *LENGTHS), (*LENGTHS, np.inf), strict=True):
        chosen = {name for name in names if low <= seconds.get(name, -1.0) < high}
        value = f"{low:g} to {high:g}" if np.isfinite(high) else f"{low:g} on"
        yield "length (s)", value if low else f"below {high:g}", chosen


def _among(whole: Contrast, names: Collection[str]) -> Contrast:
    """Return what there is of some utterances."""
    chosen = [i for i, name in enumerate(whole.utterances) if name in names]
    return Contrast(whole.seeds, [whole.utterances[i] for i in chosen], whole.values[:, chosen])


def _trend(difference: Contrast, numbers: Mapping[str, float]) -> Estimate:
    """Return the slope of the least-squares line through a difference, with its interval.

    The slope is a mean over utterances of the difference times a fixed weight (x - mean(x)) /
    var(x), so that it is resampled as a mean is.
    """
    x = np.array([numbers[name] for name in difference.utterances])
    weights = (x - x.mean()) / x.var()
    # Seeds apart from each other by a constant have one slope.
    values = (difference.values - difference.values.mean(axis=1, keepdims=True)) * weights
    return of_contrast(Contrast(difference.seeds, difference.utterances, values))


def to_csv(found: Sequence[Gain]) -> str:
    """Return gains as CSV."""
    heading = ["pair", "metric", "kind", "value", "seeds", "utterances", "mean", "low", "high"]
    rows = (
        [g.label, g.metric, g.kind, g.value, g.seeds, g.utterances, *g.estimate.cells()]
        for g in found
    )
    return csv_text([heading, *rows])
