"""The scores of a set in few numbers, and the tables that people read."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from featnorm_se.data.audio import describe_resampler
from featnorm_se.metrics.names import METRICS
from featnorm_se.metrics.worker import Row
from featnorm_se.names import SAMPLE_RATE

Conditions = Mapping[str, tuple[str, float]]
FEWEST = 3  # utterances that an interval needs: Student's of two is 12.7 deviations wide


def describe(values: Sequence[float], fewest: int = 2) -> dict[str, Any]:
    """Return ``mean``, ``std`` (n - 1), ``ci95`` and ``count`` of values.

    ``ci95`` has the ends of the mean's 95 % interval (Student's t). What few values cannot give,
    or an interval of fewer than ``fewest``, is ``None``.
    """
    count = len(values)
    mean = math.fsum(values) / count if count else None
    if mean is None or count == 1:
        return {"mean": mean, "std": None, "ci95": None, "count": count}
    std = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1))
    half = student_t(count - 1) * std / math.sqrt(count)
    ends = [mean - half, mean + half] if count >= fewest else None
    return {"mean": mean, "std": std, "ci95": ends, "count": count}


def student_t(freedom: int) -> float:
    """Return the t that Student's distribution stays within, either side, 95 % of the time."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 0.975))


def summarize(
    rows: Sequence[Row], metrics: Sequence[str], conditions: Conditions | None = None
) -> dict[str, Any]:
    """Summarize the rows of a set, one an utterance.

    Returns:
        ``utterances``, ``failures`` (utterance and reason), ``cut_to_shorter`` (samples by
        utterance), ``metrics`` (unit and ``describe`` of each); with ``conditions``, the
        means by ``snr`` and by ``noise``; where files were ``resampled``, how many
        utterances, from which rates and how.
    """
    result: dict[str, Any] = {
        "utterances": len(rows),
        "failures": [{"utt_id": row.utt_id, "reason": row.reason} for row in rows if row.reason],
        "cut_to_shorter": {row.utt_id: row.cut for row in rows if row.cut},
        "metrics": {
            name: {"unit": METRICS[name].unit, **describe(_values(rows, name), FEWEST)}
            for name in metrics
        },
    }
    if resampled := [row for row in rows if row.rates]:
        rates = sorted({rate for row in resampled for rate in row.rates})
        made_by = {"from": rates, "to": SAMPLE_RATE, **describe_resampler()}
        result["resampled"] = {"utterances": len(resampled), **made_by}
    if conditions is not None:
        result["conditions"] = _by_condition(rows, metrics, conditions)
    return result


def _by_condition(
    rows: Sequence[Row], metrics: Sequence[str], conditions: Conditions
) -> dict[str, Any]:
    """Group rows by SNR and by noise; an utterance without a line is ``unknown``."""
    known = [(*conditions.get(row.utt_id, ("unknown", math.nan)), row) for row in rows]
    groups: dict[str, dict[str, list[Row]]] = {"snr": {}, "noise": {}}
    for noise, snr, row in sorted(known, key=lambda one: (math.isnan(one[1]), one[1], one[0])):
        groups["snr"].setdefault("unknown" if math.isnan(snr) else f"{snr:g}", []).append(row)
        groups["noise"].setdefault(noise, []).append(row)
    groups["noise"] = dict(sorted(groups["noise"].items()))

    def means(group: Sequence[Row]) -> dict[str, Any]:
        found = {name: describe(_values(group, name))["mean"] for name in metrics}
        return {"utterances": len(group), **found}

    return {kind: {n: means(group) for n, group in found.items()} for kind, found in groups.items()}


def _values(rows: Sequence[Row], metric: str) -> list[float]:
    return [row.scores[metric] for row in rows if metric in row.scores]


def format_value(name: str, value: float | None) -> str:
    """Write a score with the decimals of its metric; nothing for ``None``."""
    return "" if value is None else f"{value:.{METRICS[name].decimals}f}"


def align(cells: Sequence[Sequence[str]]) -> str:
    """Lay out rows of text in columns, the first to the left, the others to the right."""
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    lines = []
    for first, *rest in cells:
        numbers = [text.rjust(width) for text, width in zip(rest, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *numbers]).rstrip())
    return "\n".join(lines)


def format_summary(summary: Mapping[str, Any]) -> str:
    """Write a summary as the tables that the command prints."""
    cells = [["metric", "unit", "mean", "std", "95 % interval", "count"]]
    for name, row in summary["metrics"].items():
        numbers = [format_value(name, row["mean"]), format_value(name, row["std"])]
        interval = " .. ".join(format_value(name, end) for end in row["ci95"] or ())
        numbers += [interval or "too few utterances", str(row["count"])]
        cells.append([name, row["unit"], *numbers])
    parts = [align(cells)]
    metrics = list(summary["metrics"])
    for kind, title in (("snr", "SNR (dB)"), ("noise", "noise")):
        if groups := summary.get("conditions", {}).get(kind):
            cells = [[title, "count", *metrics]]
            for name, means in groups.items():
                values = [format_value(metric, means[metric]) for metric in metrics]
                cells.append([name, str(means["utterances"]), *values])
            parts.append(align(cells))
    return "\n\n".join(parts)
