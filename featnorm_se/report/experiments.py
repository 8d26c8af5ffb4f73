"""What an experiments folder holds: each experiment's record and its scores."""

from __future__ import annotations

import csv
import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from featnorm_se.errors import FeatnormError

NOISY = "noisy"
SCORES_PREFIX = "scores_"
_SEEDED = re.compile(r"(?P<row>.+)_seed(?P<seed>\d+)")


@dataclass
class Experiment:
    """One row of the tables.

    Attributes:
        name: the folder's name; ``noisy`` for the input itself.
        folder: ``exp/<name>``.
        run: what ``run.json`` holds; every field may be missing.
        summaries: what ``scores_<testset>/summary.json`` holds, by test set.
    """

    name: str
    folder: Path
    run: dict[str, Any] = field(default_factory=dict)
    summaries: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def is_noisy(self) -> bool:
        """Whether this is the input, not a model's output."""
        return self.name == NOISY

    @property
    def start(self) -> str:
        """``pre-trained`` or ``scratch``; empty when the record does not say."""
        if not self.run.get("upstream"):
            return ""
        return "scratch" if self.run.get("upstream_ckpt") == "scratch" else "pre-trained"

    def mean(self, testset: str, metric: str) -> float | None:
        """Return a metric's mean on a test set, or ``None`` when it was not scored."""
        told = self.summaries.get(testset, {}).get("metrics", {}).get(metric) or {}
        value = told.get("mean")
        return None if value is None else float(value)

    def scores(self, testset: str) -> dict[str, dict[str, float]]:
        """Read ``scores.csv``: the values by metric, by utterance.

        Raises:
            FeatnormError: the file cannot be read or is no table of scores.
        """
        return read_scores(self.folder / f"{SCORES_PREFIX}{testset}" / "scores.csv")


def read_scores(path: str | os.PathLike[str]) -> dict[str, dict[str, float]]:
    """Read a ``scores.csv``; a cell that is empty is left out.

    Raises:
        FeatnormError: the file cannot be read or is no table of scores.
    """
    try:
        with open(path, encoding="utf-8", newline="") as handle:
            rows = list(csv.DictReader(handle))
        return {
            row["utt_id"]: {
                name: float(value)
                for name, value in row.items()
                if name not in ("utt_id", "reason") and value
            }
            for row in rows
        }
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, TypeError, ValueError) as error:
        raise FeatnormError(f"{path} is no table of scores ({error!r}): run stage 4") from error


def split_seed(name: str) -> tuple[str, int] | None:
    """Return row and seed of an experiment ``<row>_seed<N>``; ``None``: it is named otherwise."""
    found = _SEEDED.fullmatch(name)
    return (found["row"], int(found["seed"])) if found else None


def count_seeds(count: int) -> str:
    """Return ``1 seed``, ``3 seeds``, or ``not run``."""
    return f"{count} seed{'s' if count > 1 else ''}" if count else "not run"


@dataclass(frozen=True)
class Drift:
    """How alike a layer's clean features are before and after fine-tuning; 1: nothing moved.

    Attributes:
        layer: its site.
        cka: linear centred kernel alignment.
        cosine: mean cosine of the frames.
    """

    layer: str
    cka: float
    cosine: float


def drift_file(folder: Path) -> Path | None:
    """Return an experiment's table of layer, cka and cosine, when there is one."""
    places = (folder / "features" / "drift.csv", folder / "drift.csv")
    return next((path for path in places if path.is_file()), None)


def read_drift(folder: Path) -> list[Drift]:
    """Read an experiment's drift, a line a layer; none where it was not measured.

    Raises:
        FeatnormError: the file is no such table, or an empty one.
    """
    path = drift_file(folder)
    if path is None:
        return []
    try:
        with open(path, encoding="utf-8", newline="") as handle:
            lines = [
                Drift(line["layer"], float(line["cka"]), float(line["cosine"]))
                for line in csv.DictReader(handle)
            ]
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, TypeError, ValueError) as error:
        raise FeatnormError(
            f"{path} is no table of layer,cka,cosine ({error!r}): run stage 5 again"
        ) from error
    if not lines:
        raise FeatnormError(f"{path} is no table of layer,cka,cosine: run stage 5 again")
    return lines


def read_experiments(expdir: str | os.PathLike[str]) -> list[Experiment]:
    """Read every experiment of a folder: ``noisy`` first, the others by name.

    A folder counts when it has a ``run.json`` or a ``scores_*/summary.json``.

    Raises:
        FeatnormError: there is no such folder, a file is broken, or nothing is there.
    """
    root = Path(expdir)
    if not root.is_dir():
        raise FeatnormError(f"no experiments folder {root}: run stages 3 and 4, or give --expdir")
    found = []
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        record = folder / "run.json"
        summaries = {
            path.parent.name[len(SCORES_PREFIX) :]: _read_json(path)
            for path in sorted(folder.glob(f"{SCORES_PREFIX}*/summary.json"))
        }
        if record.is_file() or summaries:
            run = _read_json(record) if record.is_file() else {}
            found.append(Experiment(folder.name, folder, run, summaries))
    if not any(experiment.summaries for experiment in found):
        raise FeatnormError(f"no scores (*/scores_*/summary.json) under {root}: run stage 4")
    return sorted(found, key=lambda experiment: (not experiment.is_noisy, experiment.name))


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FeatnormError(f"{path} is no JSON ({error}): run its stage again") from error
    if not isinstance(value, dict):
        raise FeatnormError(f"{path} holds no JSON object: run its stage again")
    metrics = value.get("metrics", {})
    if not isinstance(metrics, dict) or not all(isinstance(m, dict) for m in metrics.values()):
        raise FeatnormError(f"{path}: its metrics are no groups of numbers: run its stage again")
    return value


def names_of_testsets(experiments: list[Experiment]) -> list[str]:
    """Return the names of all test sets that any experiment was scored on, sorted."""
    return sorted({name for experiment in experiments for name in experiment.summaries})
