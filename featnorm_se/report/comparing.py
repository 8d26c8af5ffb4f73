"""Comparison of experiments' folders: the numbers, their table and their picture."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from featnorm_se.errors import FeatnormError
from featnorm_se.metrics.names import METRICS
from featnorm_se.metrics.summary import format_value
from featnorm_se.report.experiments import SCORES_PREFIX, read_scores
from featnorm_se.report.paired import Comparison, compare

PathLike = str | os.PathLike[str]


def compare_folders(
    baseline: PathLike, others: Sequence[PathLike], metric: str, testset: str | None = None
) -> dict[str, Comparison]:
    """Compare each experiment with the baseline.

    Args:
        baseline: ``exp/<name>`` of what is compared with.
        others: ``exp/<name>`` of what is judged.
        metric: the metric's name.
        testset: the test set; may be left out when the experiments share just one.

    Returns:
        The comparisons by a label of two lines, ``<other>`` and ``less <baseline>``.

    Raises:
        FeatnormError: the metric is unknown, a folder was not scored, the test set must be
            named, or two sets have no scored utterance in common.
    """
    if metric not in METRICS:
        raise FeatnormError(f"no metric is named {metric!r}; there are {', '.join(METRICS)}")
    folders = [Path(baseline), *map(Path, others)]
    name = testset or _common_testset(folders)
    tables = [read_scores(folder / f"{SCORES_PREFIX}{name}" / "scores.csv") for folder in folders]
    first, *rest = tables
    found: dict[str, Comparison] = {}
    for folder, table in zip(folders[1:], rest, strict=True):
        try:
            told = compare(first, table, metric)
        except FeatnormError as error:
            raise FeatnormError(f"{folders[0]} and {folder}: {error}") from error
        found[f"{_name(folder)}\nless {_name(folders[0])}"] = told
    return found


def _name(folder: Path) -> str:
    return folder.resolve().name


def _common_testset(folders: Sequence[Path]) -> str:
    """Return the one test set that all folders were scored on."""
    common: set[str] | None = None
    for folder in folders:
        names = {
            path.parent.name[len(SCORES_PREFIX) :]
            for path in folder.glob(f"{SCORES_PREFIX}*/scores.csv")
        }
        if not names:
            raise FeatnormError(f"{folder} has no scores (scores_*/scores.csv): run stage 4")
        common = names if common is None else common & names
    if not common:
        raise FeatnormError("the experiments were scored on no test set in common: run stage 4")
    if len(common) > 1:
        raise FeatnormError(f"name one --testset of {', '.join(sorted(common))}")
    return common.pop()


def comparison_table(comparisons: Mapping[str, Comparison], metric: str) -> list[list[str]]:
    """Return the comparisons as rows of text, with a heading."""
    rows = [["comparison", "utterances", "mean", "95 % interval", "wins", "ties", "losses"]]
    for label, told in comparisons.items():
        ends = f"{format_value(metric, told.low)} .. {format_value(metric, told.high)}"
        mean = f"{told.mean:+.{METRICS[metric].decimals}f}"
        counts = [str(number) for number in (told.wins, told.ties, told.losses)]
        rows.append([" ".join(label.split()), str(len(told.utterances)), mean, ends, *counts])
    return rows


def draw(comparisons: Mapping[str, Comparison], metric: str, path: PathLike) -> None:
    """Draw the differences of every utterance as a PNG, a row a comparison."""
    from featnorm_se.report.figure import new_figure, to_png
    from featnorm_se.report.plots import draw_differences

    with new_figure(8.0, 1.2 + 0.6 * len(comparisons)) as figure:
        draw_differences(figure.subplots(), comparisons, metric)
        to_png(figure, path)
