"""The page's look inside the models: drift by fine-tuning, features before and after FN."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from featnorm_se.report import markup
from featnorm_se.report.experiments import Drift, Experiment, read_drift
from featnorm_se.report.figure import color, marker, new_figure, to_svg
from featnorm_se.report.labels import series_numbers

PICTURES = {
    "distance": "Noisy against clean features of the upstream before fine-tuning, site by site",
    "frames": "Frames at the normalized site, and each channel's gap",
}


def inside(experiments: Sequence[Experiment], labels: Mapping[str, str]) -> str:
    """Write the section; empty when ``featnorm_se.bin.drift`` has been run on no experiment.

    Args:
        experiments: as from ``read_experiments``.
        labels: their short names.
    """
    groups: dict[str, dict[str, list[Drift]]] = {}
    folds = []
    for experiment in experiments:
        folder = experiment.folder / "features"
        drift = read_drift(experiment.folder)
        if not drift:
            continue
        upstream = str(experiment.run.get("upstream") or "")
        label = labels[experiment.name]
        groups.setdefault(upstream, {})[label] = drift
        pictures = [
            markup.figure(_picture(folder / f"{name}.png", f"{label}: {told}"), told)
            for name, told in PICTURES.items()
            if (folder / f"{name}.png").is_file()
        ]
        folds.append(markup.folded(label, markup.figures(pictures)))
    numbers = series_numbers(experiments, labels)
    drawn = [
        markup.figure(
            draw_drift(members, numbers, f"Drift of {upstream} on clean speech"),
            f"{upstream}: how alike clean speech's features are before and after fine-tuning"
            " (centred kernel alignment; 1: no drift), from the signal upwards.",
        )
        for upstream, members in groups.items()
    ]
    return markup.figures(drawn) + "".join(folds)


def draw_drift(members: Mapping[str, list[Drift]], numbers: Mapping[str, int], title: str) -> str:
    """Draw alignment by layer, a line an experiment of one upstream."""
    with new_figure(7, 3.4) as figure:
        axis = figure.subplots()
        for label, rows in members.items():
            number = numbers.get(label, 0)
            style: dict[str, Any] = {"color": color(number), "marker": marker(number)}
            axis.plot(range(len(rows)), [layer.cka for layer in rows], label=label, **style)
        layers = [told.layer for told in next(iter(members.values()))]
        axis.set_xticks(range(len(layers)), layers, rotation=60, ha="right")
        axis.set_ylabel("alignment with the start")
        axis.grid(axis="y")
        axis.legend()
        return to_svg(figure, title)


def _picture(path: Path, told: str) -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<img src="data:image/png;base64,{data}" alt="{markup.esc(told)}">'
