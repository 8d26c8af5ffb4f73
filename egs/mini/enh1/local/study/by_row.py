"""What lies beside the scores of a grid's runs, by row: losses by epoch, drift by layer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from estimate import Estimate, over_seeds

from featnorm_se.files import csv_text
from featnorm_se.names import NORMS
from featnorm_se.report.experiments import read_curves, read_drift

_SEEDED = re.compile(r"(?P<row>.+)_seed(?P<seed>\d+)")
_SITE = r"(?:auto|frontend|projection|last|layer\.\d+)"
_ROW = re.compile(
    r"(?P<start>.+?_(?:pretrained|scratch))"
    rf"_(?P<norm>(?:{'|'.join(NORMS)})(?:_{_SITE}(?:\+{_SITE})*)?)_(?P<config>.+)"
)


@dataclass(frozen=True)
class Point:
    """A mean over a row's seeds at one place of a line.

    Attributes:
        row: the runs' name without the seed.
        place: an epoch, or a layer.
        seeds: how many runs it is of.
        estimate: with Student's interval over seeds.
    """

    row: str
    place: str
    seeds: int
    estimate: Estimate


def split_seed(name: str) -> tuple[str, int] | None:
    """Return row and seed of an experiment ``<row>_seed<N>``; ``None``: it is named otherwise."""
    found = _SEEDED.fullmatch(name)
    return (found["row"], int(found["seed"])) if found else None


def count_seeds(count: int) -> str:
    """Return ``1 seed``, ``3 seeds``, or ``not run``."""
    return f"{count} seed{'s' if count > 1 else ''}" if count else "not run"


def split_row(row: str) -> tuple[str, str]:
    """Return what a row's name says of upstream, weights and training, and of norm and site."""
    found = _ROW.fullmatch(row)
    return (f"{found['start']}, {found['config']}", found["norm"]) if found else ("", row)


def rows_of(expdir: Path, seeds: Sequence[int]) -> dict[str, dict[int, Path]]:
    """Return the folders of experiments by row and seed, of the seeds wanted."""
    rows: dict[str, dict[int, Path]] = {}
    for folder in sorted(path for path in expdir.iterdir() if path.is_dir()):
        found = split_seed(folder.name)
        if found and found[1] in seeds:
            rows.setdefault(found[0], {})[found[1]] = folder
    return rows


def validation_losses(rows: Mapping[str, Mapping[int, Path]]) -> list[Point]:
    """Return the mean validation loss of every row and epoch.

    Raises:
        FeatnormError: a checkpoint is broken.
    """
    points = []
    for row, folders in rows.items():
        by_epoch: dict[int, list[float]] = {}
        for folder in folders.values():
            for epoch, loss in _losses(folder):
                by_epoch.setdefault(epoch, []).append(loss)
        for epoch in sorted(by_epoch):
            points.append(_point(row, str(epoch), by_epoch[epoch]))
    return points


def _losses(folder: Path) -> list[tuple[int, float]]:
    """Read the checkpoint's losses: the log, which serves where there is none, rounds them."""
    path = folder / "checkpoint.pth"
    if not path.is_file():
        return read_curves(folder).get("valid", [])
    from featnorm_se.training.record import read_reporter

    stats = read_reporter(path).stats
    return [(epoch, float(sets["valid"]["loss"])) for epoch, sets in sorted(stats.items())]


def layer_drift(rows: Mapping[str, Mapping[int, Path]]) -> list[Point]:
    """Return the mean CKA of every row and layer, of the runs whose drift was measured.

    Raises:
        FeatnormError: a ``drift.csv`` is no table of layers.
    """
    points = []
    for row, folders in rows.items():
        by_layer: dict[str, list[float]] = {}
        for folder in folders.values():
            for layer, likeness in read_drift(folder).items():
                by_layer.setdefault(layer, []).append(likeness["cka"])
        points += [_point(row, layer, values) for layer, values in by_layer.items()]
    return points


def mean_drift(rows: Mapping[str, Mapping[int, Path]]) -> dict[str, dict[int, float]]:
    """Return the mean CKA over layers of every run whose drift was measured, by row and seed."""
    found: dict[str, dict[int, float]] = {}
    for row, folders in rows.items():
        for seed, folder in folders.items():
            layers = read_drift(folder)
            if layers:
                found.setdefault(row, {})[seed] = sum(
                    likeness["cka"] for likeness in layers.values()
                ) / len(layers)
    return found


def _point(row: str, place: str, values: Sequence[float]) -> Point:
    return Point(row, place, len(values), over_seeds(values))


def to_csv(points: Sequence[Point], place: str, value: str) -> str:
    """Return points as CSV; one run has no interval.

    Args:
        points: what to write.
        place, value: headings, such as ``layer`` and ``cka``.
    """
    rows = [[p.row, p.place, p.seeds, *p.estimate.cells()] for p in points]
    return csv_text([["row", place, "seeds", value, f"{value}_low", f"{value}_high"], *rows])
