"""The report page: one HTML file that opens from disk and needs nothing else.

What it says and how it looks stands in ``templates/``; here is what it is made from.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from featnorm_se.errors import FeatnormError
from featnorm_se.files import write_text
from featnorm_se.report import plots
from featnorm_se.report.experiments import (
    Experiment,
    names_of_testsets,
    read_curves,
    read_drift,
    short_labels,
)
from featnorm_se.report.paired import comparison_table
from featnorm_se.report.results import details
from featnorm_se.report.testset import TestSet

Found = TypeVar("Found")

LARGEST_BYTES = 10_000_000
# Tried in this order until the page is small enough: the audio's format, and how many models
# can be heard.
_ATTEMPTS = (("flac", 8), ("mp3", 8), ("mp3", 3), ("mp3", 0))


def write_page(
    experiments: Sequence[Experiment],
    path: str | os.PathLike[str],
    datadir: str | os.PathLike[str],
    title: str = "Results",
) -> None:
    """Write the page, under 10 MB.

    The audio is lossless when there is room, else MP3, else of fewer models.

    Args:
        experiments: as from ``read_experiments``.
        path: the file to write, such as ``report/index.html``.
        datadir: folder of ``<testset>/{wav,spk1}.scp`` for the noisy and clean audio; what is
            not there is left out of the page.
        title: the page's heading.

    Raises:
        FeatnormError: the page cannot be written, or is too large even without audio.
    """
    for kind, limit in _ATTEMPTS:
        page = build_page(experiments, os.fspath(datadir), title, kind, limit)
        if len(page.encode()) < LARGEST_BYTES:
            write_text(path, page)
            return
    raise FeatnormError(
        f"{path} would be over {LARGEST_BYTES // 10**6} MB even without audio: report on fewer"
        " experiments"
    )


def build_page(
    experiments: Sequence[Experiment],
    datadir: str,
    title: str,
    kind: str = "flac",
    limit: int = 8,
) -> str:
    """Return the page's HTML.

    Args:
        experiments: as from ``read_experiments``.
        datadir: folder of the test sets' data directories.
        title: the page's heading.
        kind: the audio's format.
        limit: so many models at most can be heard.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    labels = short_labels(experiments)
    models = [experiment for experiment in experiments if not experiment.is_noisy]
    environment = Environment(
        loader=PackageLoader("featnorm_se.report"),
        autoescape=True,  # names and commands come from outside
        undefined=StrictUndefined,
    )
    return environment.get_template("page.html").render(
        title=title,
        experiments=experiments,
        labels=labels,
        # A model has the same colour and marker in every plot.
        numbers={labels[model.name]: number for number, model in enumerate(models)},
        testsets=[TestSet(name, experiments, labels) for name in names_of_testsets(experiments)],
        audio={"datadir": datadir, "kind": kind, "limit": limit},
        curves=_by_upstream(experiments, labels, read_curves),
        drifts=_by_upstream(experiments, labels, read_drift),
        png=_png,
        plots=plots,
        comparison_table=comparison_table,
        details=details,
    )


def _by_upstream(
    experiments: Sequence[Experiment], labels: Mapping[str, str], read: Callable[[Path], Found]
) -> dict[str, dict[str, Found]]:
    """Read something of every experiment that has it, by upstream and label."""
    groups: dict[str, dict[str, Found]] = {}
    for experiment in experiments:
        found = read(experiment.folder)
        if found:
            upstream = str(experiment.run.get("upstream") or "")
            groups.setdefault(upstream, {})[labels[experiment.name]] = found
    return groups


def _png(path: Path) -> str:
    """Return a picture as base64; nothing when there is none."""
    return base64.b64encode(path.read_bytes()).decode() if path.is_file() else ""
