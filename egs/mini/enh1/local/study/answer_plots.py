"""Pictures of the answers: differences, gains by condition, losses and drift by row."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from estimate import DELTAS, Estimate

from featnorm_se.report.figure import GREY, INK, PALETTE, new_figure, series, to_png
from featnorm_se.report.plots import axis_label
from study.answers import Answer
from study.by_row import Point, count_seeds, split_row
from study.conditions import Gain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_KINDS = ("SNR (dB)", "noise", "length (s)")
_LEGEND: dict[str, Any] = {"fontsize": 8, "loc": "outside lower center"}


def plot_answers(answers: Sequence[Answer], path: Path) -> None:
    """Draw every answer's difference with its interval, a panel a metric, by groups.

    A filled marker: the interval has no zero in it. A dotted line: one seed, so that the interval
    is over utterances alone.
    """
    lines: list[Answer | str] = []
    for group in dict.fromkeys(answer.question.group for answer in answers):
        lines += [group, *(a for a in answers if a.question.group == group)]
    with new_figure(11.0, 1.2 + 0.24 * len(lines)) as figure:
        panels = figure.subplots(1, len(DELTAS), sharey=True)
        for axes, metric in zip(panels, DELTAS, strict=True):
            for i, line in enumerate(lines):
                if not isinstance(line, str):
                    _draw_answer(axes, i, line, metric)
            axes.axvline(0.0, color=INK, linewidth=1.0, linestyle=":")
            axes.set(xlabel=f"difference in {axis_label(metric)}")
            axes.locator_params(axis="x", nbins=5)
            axes.grid(True, axis="x")
        panels[0].set_yticks(range(len(lines)), [_told(line) for line in lines])
        panels[0].set_ylim(len(lines) - 0.4, -0.6)
        for text, line in zip(panels[0].get_yticklabels(), lines, strict=True):
            text.set_fontweight("bold" if isinstance(line, str) else "normal")
            text.set_fontsize(8.5)
        to_png(figure, path)


def _told(line: Answer | str) -> str:
    if isinstance(line, str):
        return line
    return f"{line.question.name}  ({count_seeds(len(line.seeds))})"


def _draw_answer(axes: Axes, i: int, answer: Answer, metric: str) -> None:
    estimate = answer.estimates.get(metric)
    if estimate is None or estimate.low is None or estimate.high is None:
        axes.text(0.0, i, " not run", color=GREY, fontsize=7, va="center")
        return
    sure = estimate.low > 0 or estimate.high < 0
    shape = "-" if len(answer.seeds) > 1 else ":"
    axes.plot([estimate.low, estimate.high], [i, i], shape, color=PALETTE[0], linewidth=2.0)
    face = PALETTE[0] if sure else "white"
    axes.plot(estimate.mean, i, "o", color=PALETTE[0], markerfacecolor=face, markersize=5.5)


def plot_gains(found: Sequence[Gain], path: Path) -> None:
    """Draw gains against SNR, noise and length: a row a metric, a series a pair of rows."""
    labels = list(dict.fromkeys(gain.label for gain in found))
    with new_figure(11.0, 5.6 + 0.2 * len(labels)) as figure:
        panels = figure.subplots(len(DELTAS), len(_KINDS), squeeze=False)
        for metric, line in zip(DELTAS, panels, strict=True):
            for kind, axes in zip(_KINDS, line, strict=True):
                _draw_gains(
                    axes, [g for g in found if (g.metric, g.kind) == (metric, kind)], labels
                )
                axes.set(xlabel=kind)
            line[0].set_ylabel(f"gain in {axis_label(metric)}")
        handles, names = panels[0][0].get_legend_handles_labels()
        figure.legend(handles, names, **_LEGEND)
        to_png(figure, path)


def _draw_gains(axes: Axes, found: Sequence[Gain], labels: Sequence[str]) -> None:
    values = list(dict.fromkeys(gain.value for gain in found))
    for number, label in enumerate(labels):
        shift = 0.16 * (number - (len(labels) - 1) / 2)
        mine = [gain for gain in found if gain.label == label]
        places = [values.index(gain.value) + shift for gain in mine]
        count = max((gain.seeds for gain in mine), default=0)
        _bars(
            axes,
            places,
            [g.estimate for g in mine],
            number,
            f"{label} ({count_seeds(count)})",
            "none",
        )
    axes.set_xticks(range(len(values)), values)
    axes.axhline(0.0, color=INK, linewidth=1.0, linestyle=":")
    axes.grid(True, axis="y")


def _bars(
    axes: Axes,
    places: Sequence[float],
    estimates: Sequence[Estimate],
    number: int,
    label: str,
    line: str = "-",
) -> None:
    """Draw means with their intervals, where there are any."""
    below = [e.mean - e.low if e.low is not None else 0.0 for e in estimates]
    above = [e.high - e.mean if e.high is not None else 0.0 for e in estimates]
    axes.errorbar(
        places,
        [e.mean for e in estimates],
        [below, above],
        **series(number),
        markersize=5,
        linestyle=line,
        capsize=2,
        label=label,
    )


def plot_points(points: Sequence[Point], path: Path, place: str, value: str) -> None:
    """Draw a panel for each upstream, its weights and its training, with a line for each row.

    Args:
        points: from ``by_row``.
        path: the PNG to write.
        place: ``epoch``, whose places are numbers, or ``layer``.
        value: for the other axis.
    """
    starts = list(dict.fromkeys(split_row(point.row)[0] for point in points)) or [""]
    # A norm looks the same in all panels.
    norms = list(dict.fromkeys(split_row(point.row)[1] for point in points))
    columns = min(3, len(starts))
    height = -(-len(starts) // columns)
    with new_figure(4.4 * columns, 4.6 * height) as figure:
        panels = figure.subplots(height, columns, squeeze=False, sharey=True).ravel()
        for axes, start in zip(panels, starts, strict=False):
            mine = [point for point in points if split_row(point.row)[0] == start]
            _draw_rows(axes, mine, place, norms)
            axes.set(title=start, xlabel=place)
            axes.grid(True)
        for axes in panels[len(starts) :]:
            axes.remove()
        for axes in panels[::columns]:
            axes.set_ylabel(value)
        to_png(figure, path)


def _draw_rows(axes: Axes, points: Sequence[Point], place: str, norms: Sequence[str]) -> None:
    names = list(dict.fromkeys(point.place for point in points))
    rows = list(dict.fromkeys(point.row for point in points))
    for number, row in enumerate(rows):
        mine = [point for point in points if point.row == row]
        at = [float(p.place) if place == "epoch" else float(names.index(p.place)) for p in mine]
        # Side by side, or the intervals would hide each other.
        spread = 0.08 * (number - (len(rows) - 1) / 2) if place != "epoch" else 0.0
        count = max(point.seeds for point in mine)
        norm = split_row(row)[1]
        label = f"{norm} ({count_seeds(count)})"
        style = norms.index(norm)
        _bars(axes, [x + spread for x in at], [p.estimate for p in mine], style, label)
    if place == "epoch":
        axes.locator_params(axis="x", integer=True)
    else:
        axes.set_xticks(range(len(names)), names)
    if rows:
        axes.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.19))
