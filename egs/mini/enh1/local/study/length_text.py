"""The scores of pieces of several lengths: as a table over seeds, and as a picture."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from estimate import DELTAS, Estimate, of_contrast

from featnorm_se.report.figure import GREY, new_figure, series, to_png
from featnorm_se.report.paired import contrast
from featnorm_se.report.plots import axis_label
from study.by_row import count_seeds
from study.lengths import Outcome, Scores


@dataclass(frozen=True)
class Entry:
    """A row's mean score for one way to cut.

    Attributes:
        row: the models' name without the seed.
        stats, cut, seconds: see ``lengths.Outcome``.
        metric: the metric's name.
        seeds: how many models it is of.
        score: mean over seeds and utterances.
        delta: less what the same models do utterance by utterance with each one's own statistics.
    """

    row: str
    stats: str
    cut: str
    seconds: float
    metric: str
    seeds: int
    score: float
    delta: Estimate


def summarize(row: str, runs: Mapping[int, Sequence[Outcome]]) -> list[Entry]:
    """Summarize the outcomes of a row's models, by seed; all were cut in the same ways."""
    table: dict[tuple[str, str], dict[int, Scores]] = {}
    seconds = {}
    for seed, outcomes in runs.items():
        for outcome in outcomes:
            table.setdefault((outcome.stats, outcome.cut), {})[seed] = outcome.scores
            seconds[outcome.cut] = outcome.seconds
    usual = table["piece", "utterance"]
    entries = []
    for metric in DELTAS:
        for (stats, how), scores in table.items():
            apart = contrast([(1.0, scores), (-1.0, usual)], metric)
            delta = of_contrast(apart)
            mean = contrast([(1.0, scores)], metric).mean
            entries.append(Entry(row, stats, how, seconds[how], metric, len(scores), mean, delta))
    return entries


def to_csv(entries: Sequence[Entry]) -> str:
    """Return entries as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    heads = ["row", "statistics", "cut", "seconds", "seeds", "metric", "score"]
    writer.writerow([*heads, "delta", "delta_low", "delta_high"])
    for e in entries:
        words = [e.row, e.stats, e.cut, f"{e.seconds:.3f}", e.seeds, e.metric]
        writer.writerow([*words, f"{e.score:.6f}", *e.delta.cells()])
    return text.getvalue()


def plot_lengths(entries: Sequence[Entry], noisy: Mapping[str, float], path: Path) -> None:
    """Draw score against the pieces' length, a panel a metric; a star is utterance by utterance.

    Args:
        entries: of all rows.
        noisy: the noisy input's mean, by metric.
        path: the PNG to write.
    """
    rows = list(dict.fromkeys(entry.row for entry in entries))
    with new_figure(10.0, 4.4 + 0.4 * len(rows)) as figure:
        panels = figure.subplots(1, len(DELTAS))
        for axes, metric in zip(panels, DELTAS, strict=True):
            for number, row in enumerate(rows):
                for stats, line in (("piece", "-"), ("whole", "--")):
                    mine = [
                        e for e in entries if (e.row, e.stats, e.metric) == (row, stats, metric)
                    ]
                    points = sorted((e.seconds, e.score) for e in mine if e.cut != "utterance")
                    stars = [(e.seconds, e.score) for e in mine if e.cut == "utterance"]
                    count = max((e.seeds for e in mine), default=0)
                    label = f"{row}, statistics of the {stats} ({count_seeds(count)})"
                    shape = {**series(number), "linestyle": line, "label": label}
                    axes.plot(*zip(*points, strict=True), **shape)
                    color = shape["color"]
                    face = color if stats == "piece" else "white"
                    axes.plot(*zip(*stars, strict=True), "*", color=color, ms=11, mfc=face)
            if metric in noisy:
                axes.axhline(noisy[metric], color=GREY, linestyle=":", label="noisy")
            axes.set_xscale("log")
            seconds = sorted({round(e.seconds, 2) for e in entries if e.cut != "utterance"})
            axes.set_xticks(seconds, [f"{s:.3g}" for s in seconds])
            axes.minorticks_off()
            axes.set(
                xlabel="length of the pieces (s); star: each utterance a piece",
                ylabel=axis_label(metric),
            )
            axes.grid(True)
        handles, names = panels[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", fontsize=8, handlelength=4.0)
        to_png(figure, path)
