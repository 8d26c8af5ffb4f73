"""The scores of a set in few numbers, and the tables that people read."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from statistics import NormalDist
from typing import Any

from featnorm_se.metrics.cache import Row
from featnorm_se.metrics.names import METRICS, tell

Conditions = Mapping[str, tuple[str, float]]


def describe(values: Sequence[float]) -> dict[str, Any]:
    """Mean, standard deviation, 95 % interval of the mean (Student's t) and count.

    Args:
        values: one score an utterance.

    Returns:
        ``mean``, ``std`` (n - 1), ``ci95`` (two ends) and ``count``. What few values cannot give
        is ``None``.
    """
    count = len(values)
    if not count:
        return {"mean": None, "std": None, "ci95": None, "count": 0}
    mean = math.fsum(values) / count
    if count == 1:
        return {"mean": mean, "std": None, "ci95": None, "count": 1}
    std = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1))
    half = student_t(count - 1) * std / math.sqrt(count)
    return {"mean": mean, "std": std, "ci95": [mean - half, mean + half], "count": count}


@lru_cache(maxsize=64)
def student_t(freedom: int) -> float:
    """Return the t that Student's distribution stays within, either side, 95 % of the time.

    Abramowitz and Stegun, "Handbook of Mathematical Functions": the finite sums 26.7.3 and 26.7.4
    inverted by bisection, and from 200 degrees of freedom on the expansion 26.7.5 about the
    normal distribution, which is good to 1e-9 there. SciPy has it too, but loading it takes as
    long as scoring ten utterances.

    Args:
        freedom: the degrees of freedom, 1 or more.
    """
    if freedom >= 200:
        z = NormalDist().inv_cdf(0.975)
        terms = (
            z,
            (z**3 + z) / 4,
            (5 * z**5 + 16 * z**3 + 3 * z) / 96,
            (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        )
        return sum(term / freedom**power for power, term in enumerate(terms))

    def within(angle: float) -> float:
        cosine, term, total = math.cos(angle), 1.0, 0.0
        odd = freedom % 2
        for k in range(odd, freedom - 1, 2):
            total += term
            term *= (k + 1) / (k + 2) * cosine**2
        if odd:
            return 2 / math.pi * (angle + math.sin(angle) * cosine * total)
        return math.sin(angle) * total

    low, high = 0.0, math.pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if within(middle) < 0.95 else (low, middle)
    return math.tan(low) * math.sqrt(freedom)


def summarize(
    rows: Sequence[Row], metrics: Sequence[str], conditions: Conditions | None = None
) -> dict[str, Any]:
    """Summarize the rows of a set.

    Args:
        rows: one an utterance.
        metrics: the metrics that were asked for.
        conditions: noise type and SNR by utterance, when they are known.

    Returns:
        ``utterances``, ``failures`` (utterance and reason), ``cut_to_shorter`` (samples by
        utterance), ``metrics`` (unit and ``describe`` of each) and, with ``conditions``, the
        means by ``snr``, by ``noise`` and by both.
    """
    result: dict[str, Any] = {
        "utterances": len(rows),
        "failures": [
            {"utt_id": row.utt_id, "reason": reason} for row in rows if (reason := reason_of(row))
        ],
        "cut_to_shorter": {row.utt_id: row.cut for row in rows if row.cut},
        "metrics": {
            name: {
                "unit": METRICS[name].unit,
                **describe([row.scores[name] for row in rows if name in row.scores]),
            }
            for name in metrics
        },
    }
    if conditions is not None:
        result["conditions"] = _by_condition(rows, metrics, conditions)
    return result


def reason_of(row: Row) -> str:
    """Tell in one line why an utterance has not every score; empty when it has."""
    return row.fault or "; ".join(tell(row.reasons))


def _by_condition(
    rows: Sequence[Row], metrics: Sequence[str], conditions: Conditions
) -> dict[str, Any]:
    """Group rows by SNR, by noise and by both; an utterance without a line is ``unknown``."""
    groups: dict[str, dict[str, list[Row]]] = {"snr": {}, "noise": {}, "noise_snr": {}}
    last = ("unknown", math.inf)
    for row in sorted(rows, key=lambda r: conditions.get(r.utt_id, last)[::-1]):
        noise, snr = conditions.get(row.utt_id, (None, None))
        level = "unknown" if snr is None else f"{snr:g}"
        kind = "unknown" if noise is None else noise
        groups["snr"].setdefault(level, []).append(row)
        groups["noise"].setdefault(kind, []).append(row)
        groups["noise_snr"].setdefault(f"{kind} {level}", []).append(row)
    groups["noise"] = dict(sorted(groups["noise"].items()))
    groups["noise_snr"] = dict(
        sorted(groups["noise_snr"].items(), key=lambda item: item[0].split()[0])
    )
    return {
        kind: {name: _means(group, metrics) for name, group in members.items()}
        for kind, members in groups.items()
    }


def _means(rows: Iterable[Row], metrics: Sequence[str]) -> dict[str, Any]:
    rows = list(rows)
    means: dict[str, Any] = {"utterances": len(rows)}
    for name in metrics:
        means[name] = describe([row.scores[name] for row in rows if name in row.scores])["mean"]
    return means


def format_value(name: str, value: float | None) -> str:
    """Write a score with the decimals that its metric is told with; nothing for ``None``."""
    return "" if value is None else f"{value:.{METRICS[name].decimals}f}"


def align(cells: Sequence[Sequence[str]]) -> str:
    """Lay out rows of text in columns, the first to the left, the others to the right."""
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    lines = []
    for row in cells:
        first, *rest = (
            text.ljust(width) if not i else text.rjust(width)
            for i, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        lines.append("  ".join([first, *rest]).rstrip())
    return "\n".join(lines)


def format_summary(summary: Mapping[str, Any]) -> str:
    """Write a summary as the tables that the command prints."""
    cells = [["metric", "unit", "mean", "std", "95 % interval", "count"]]
    for name, told in summary["metrics"].items():
        low, high = told["ci95"] or (None, None)
        interval = (
            f"{format_value(name, low)} .. {format_value(name, high)}" if low is not None else ""
        )
        cells.append(
            [
                name,
                told["unit"],
                format_value(name, told["mean"]),
                format_value(name, told["std"]),
                interval,
                str(told["count"]),
            ]
        )
    parts = [align(cells)]
    titles = {"snr": "SNR (dB)", "noise": "noise"}
    for kind, title in titles.items():
        groups = summary.get("conditions", {}).get(kind)
        if groups:
            parts.append(_format_groups(title, groups, list(summary["metrics"])))
    return "\n\n".join(parts)


def _format_groups(
    title: str, groups: Mapping[str, Mapping[str, Any]], metrics: Sequence[str]
) -> str:
    cells = [[title, "count", *metrics]]
    for name, means in groups.items():
        values = [format_value(metric, means[metric]) for metric in metrics]
        cells.append([name, str(means["utterances"]), *values])
    return align(cells)
