"""What an experiments folder holds: each experiment's record, scores, training curves and drift."""

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from featnorm_se.config import hash_model
from featnorm_se.data.scp import enhanced_by, read_scp
from featnorm_se.errors import FeatnormError, say
from featnorm_se.files import PathLike, read_json, sha256_file

NOISY = "noisy"
SCORES_PREFIX = "scores_"
_EPOCH = re.compile(r"(\d+)epoch results: (.*)")
_PHASE = re.compile(r"\[(\w+)\] ([^\[]*)")
_LOSS = re.compile(r"\bloss=([-+\d.eE]+|nan|inf)")

Scores = dict[str, dict[str, float]]
Curves = dict[str, list[tuple[int, float]]]


@dataclass
class Experiment:
    """One row of the tables.

    Attributes:
        name: the folder's name; ``noisy`` for the input itself.
        folder: ``exp/<name>``.
        run: what ``run.json`` holds; every field may be missing.
        summaries: what ``scores_<testset>/summary.json`` holds, by test set.
        label: what to call it in plots, see ``short_labels``.
    """

    name: str
    folder: Path
    run: dict[str, Any] = field(default_factory=dict)
    summaries: dict[str, dict[str, Any]] = field(default_factory=dict)
    label: str = ""

    @property
    def is_noisy(self) -> bool:
        """Whether this is the input, not a model's output."""
        return self.name == NOISY

    @property
    def start(self) -> str:
        """``pre-trained``, ``scratch`` or ``init``; empty when the record does not say."""
        if self.run.get("init") or not self.run.get("upstream"):
            return "init" if self.run.get("init") else ""
        random = str(self.run.get("upstream_identity", "")).startswith("scratch")
        return "scratch" if random or self.run.get("upstream_ckpt") == "scratch" else "pre-trained"

    @property
    def has_ended(self) -> bool:
        """Whether its training has; so also where no record says that it has not."""
        return self.run.get("finished", True) is not None

    def mean(self, testset: str, metric: str) -> float | None:
        """Return a metric's mean on a test set, or ``None`` when it was not scored."""
        return (self.summaries.get(testset, {}).get("metrics", {}).get(metric) or {}).get("mean")

    def test_pairs(self, testset: str) -> tuple[str, str]:
        """Return stamps of the noisy and the clean files of its scores; empty where not known."""
        summary = self.summaries.get(testset, {})
        known = self.is_noisy or summary.get("enhanced_with")
        return summary.get("input", "") if known else "", summary.get("clean", "")

    def decoding(self, testset: str) -> list[dict[str, Any]]:
        """Return the settings that its files were enhanced with; empty where not known."""
        made = self.summaries.get(testset, {}).get("enhanced_with", ())
        settings = [{k: v for k, v in x.items() if k not in ("model", "config")} for x in made]
        for one in settings:  # the best is the best, whatever chose it
            one["weights"] = re.sub(r"^\w+\.\w+\.(?=best|ave)", "", one.get("weights", ""))
        return settings

    def scores(self, testset: str) -> Scores:
        """Read the values by metric, by utterance; raises what ``read_scores`` does."""
        return read_scores(self.folder / f"{SCORES_PREFIX}{testset}" / "scores.csv")


def read_experiments(expdir: PathLike) -> list[Experiment]:
    """Read every experiment of a folder: ``noisy`` first, the others by name.

    A folder counts when it has a ``scores_*/summary.json``, or a ``run.json`` and a trained epoch.
    Scores of weights or enhanced files that are replaced since are left out, with a warning.

    Raises:
        FeatnormError: there is no such folder, a file is broken, or nothing is there.
    """
    root = Path(expdir)
    if not root.is_dir():
        raise FeatnormError(f"no experiments folder {root}: run stages 3 and 4, or give --expdir")
    every = [read_experiment(path) for path in sorted(root.iterdir()) if path.is_dir()]
    found = [one for one in every if one.summaries or (one.run and any(one.folder.glob("*.pth")))]
    if not any(experiment.summaries for experiment in found):
        raise FeatnormError(f"no scores (*/scores_*/summary.json) under {root}: run stage 4")
    labels = short_labels(found)
    for experiment in found:
        experiment.label = labels[experiment.name]
    return sorted(found, key=lambda experiment: (not experiment.is_noisy, experiment.name))


def read_experiment(folder: Path) -> Experiment:
    """Read one experiment's folder; outdated scores are left out, with a warning.

    Raises:
        FeatnormError: a file is broken.
    """
    record = folder / "run.json"
    run = _read_object(record) if record.is_file() else {}
    summaries = {}
    for path in sorted(folder.glob(f"{SCORES_PREFIX}*/summary.json")):
        testset, summary = path.parent.name.removeprefix(SCORES_PREFIX), _read_object(path)
        if not is_outdated(folder, testset, summary):
            summaries[testset] = summary
    found = Experiment(folder.name or folder.resolve().name, folder, run, summaries)
    if summaries and not found.has_ended:
        fault = "has not ended its training: its scores may be of an earlier epoch"
        say(f"warning: {folder} {fault}, the same run.sh goes on")
    return found


def is_outdated(experiment: Path, testset: str, summary: Mapping[str, Any]) -> bool:
    """Whether scores are of other enhanced files, or another model, than are there now; warn then.

    The model is the file of weights that the scores name, and what ``config.yaml`` builds.
    ``summary`` is what the ``summary.json`` of ``testset`` holds.
    """
    scp = experiment / f"enhanced_{testset}" / "spk1.scp"
    there = enhanced_by(read_scp(scp).values() if scp.is_file() else ())
    made = summary.get("enhanced_with", there)
    outdated = bool(there and made != there)
    for one in made:
        file = experiment / one.get("weights", "")
        if file.is_file():
            outdated |= sha256_file(file) != one["model"]
            outdated |= one.get("config") not in (None, hash_model(experiment / "config.yaml"))
    if outdated:
        where = f"{experiment}/scores_{testset}"
        say(f"warning: {where} is of other weights or files than now: left out (run stage 4)")
    return outdated


def _read_object(path: Path) -> dict[str, Any]:
    value = read_json(path)
    if not isinstance(value, dict) or not isinstance(value.get("metrics", {}), dict):
        raise FeatnormError(f"{path} is no record of an experiment: run its stage again")
    return value


def names_of_testsets(experiments: Sequence[Experiment]) -> list[str]:
    """Return the names of all test sets that any experiment was scored on, ``test`` first."""
    names = {name for experiment in experiments for name in experiment.summaries}
    return sorted(names, key=lambda name: (name != "test", name))


def same_input(experiments: Iterable[Experiment], testset: str) -> bool:
    """Whether their scores go back to the same test pairs, as far as that is known."""
    pairs = zip(*(experiment.test_pairs(testset) for experiment in experiments), strict=True)
    return all(len({*stamps} - {""}) < 2 for stamps in pairs)


def same_decoding(experiments: Iterable[Experiment], testset: str) -> bool:
    """Whether their files were enhanced with the same settings, as far as that is known."""
    made = [found for one in experiments if (found := one.decoding(testset))]
    return all(found == made[0] for found in made)


def same_length(experiments: Iterable[Experiment]) -> bool:
    """Whether their trainings had the same ``max_epoch``, as far as that is known."""
    return len({one.run["max_epoch"] for one in experiments if one.run.get("max_epoch")}) < 2


def read_scores(path: PathLike, key: str = "utt_id") -> Scores:
    """Read a ``scores.csv``, or another table of numbers; a cell that is empty is left out.

    ``key`` is the column that names a row.

    Raises:
        FeatnormError: the file cannot be read or is no such table.
    """
    words = (key, "reason")
    try:
        with open(path, encoding="utf-8-sig", newline="") as handle:
            return {
                row[key]: {k: float(v) for k, v in row.items() if k not in words and v}
                for row in csv.DictReader(handle)
            }
    except (OSError, csv.Error, KeyError, TypeError, ValueError) as error:
        fault = f"{path} is no table of scores by {key} ({error!r}): run its stage again"
        raise FeatnormError(fault) from error


def drift_file(folder: Path) -> Path:
    """Return where an experiment's drift is: how alike clean features are before and after."""
    return folder / "features" / "drift.csv"


def read_drift(folder: Path) -> Scores:
    """Read ``cka`` and ``cosine`` by layer, where measured; raises what ``read_scores`` does."""
    path = drift_file(folder)
    return read_scores(path, "layer") if path.is_file() else {}


def read_curves(folder: Path) -> Curves:
    """Read the loss by epoch of ``train`` and ``valid`` from ``train.log`` (and its rotations).

    An epoch that a resumed training did again counts as it was done last. Without a log there is
    nothing.
    """
    found: dict[str, dict[int, float]] = {}
    for path in sorted(folder.glob("train*.log"), key=lambda path: path.stat().st_mtime):
        for epoch in _EPOCH.finditer(path.read_text(encoding="utf-8", errors="replace")):
            for phase, values in _PHASE.findall(epoch[2]):
                if loss := _LOSS.search(values):
                    found.setdefault(phase, {})[int(epoch[1])] = float(loss[1])
    return {phase: sorted(found[phase].items()) for phase in ("train", "valid") if phase in found}


def short_labels(experiments: Sequence[Experiment]) -> dict[str, str]:
    """Name each experiment by its upstream, its norm, and what else is needed to be unique.

    Site, weights and seed are added, one after the other, while two names are the same; when
    all of them do not suffice, the folder's name is used. Returns the labels by folder's name.
    """
    models = [experiment for experiment in experiments if not experiment.is_noisy]
    labels = {experiment.name: experiment.name for experiment in experiments}
    words: dict[str, list[Any]] = {}
    for model in models:
        named = [model.run.get(key) for key in ("upstream", "norm", "norm_site")]
        words[model.name] = [*named, model.start, f"seed {model.run.get('seed')}"]
    for count in range(2, 6):
        found = {name: " ".join(str(w) for w in own[:count] if w) for name, own in words.items()}
        if all(own[0] for own in words.values()) and len(set(found.values())) == len(models):
            return labels | found
    return labels
