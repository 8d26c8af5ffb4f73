"""A mean over seeds and its interval, and how both are written."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from featnorm_se.metrics.summary import describe
from featnorm_se.report.paired import Contrast

DELTAS = ("PESQ_WB", "STOI")


@dataclass(frozen=True)
class Estimate:
    """A mean and its 95 % interval; the interval is ``None`` where one value gives none."""

    mean: float
    low: float | None = None
    high: float | None = None

    def cells(self) -> list[str]:
        """Write the mean and its interval for CSV; an interval that is not there is empty."""
        return ["" if v is None else f"{v:.6f}" for v in (self.mean, self.low, self.high)]


def over_seeds(values: Sequence[float]) -> Estimate:
    """Return the mean over seeds with Student's interval; one value has none."""
    found = describe(values)
    return Estimate(found["mean"], *(found["ci95"] or ()))


def of_contrast(contrast: Contrast) -> Estimate:
    """Return a difference's mean with its bootstrap interval."""
    return Estimate(contrast.mean, *(contrast.interval or ()))


def one_more(estimate: Estimate | None, seeds: int) -> tuple[float, float] | None:
    """Return where one more run falls 95 times of 100, by a mean over seeds; one does not say.

    Student's prediction interval is mean ± t s sqrt(1 + 1/n), and that of the mean over n seeds
    mean ± t s / sqrt(n): sqrt(n + 1) times as close.
    """
    if estimate is None or estimate.low is None or estimate.high is None:
        return None
    mean, wide = estimate.mean, math.sqrt(seeds + 1)
    return mean - wide * (mean - estimate.low), mean + wide * (estimate.high - mean)


def format_difference(estimate: Estimate | None, decimals: int) -> str:
    """Write a difference and its interval, if it has one, with a decimal more than its metric."""
    if estimate is None:
        return ""
    decimals += 1
    mean = f"{estimate.mean:+.{decimals}f}"
    mean = mean if mean.strip("+-0.") else mean[1:]  # a zero has no sign
    if estimate.low is None or estimate.high is None:
        return mean
    # But an end has: it says on which side of zero it was rounded from.
    return f"{mean} [{estimate.low:+.{decimals}f}, {estimate.high:+.{decimals}f}]"
