from __future__ import annotations

from pathlib import Path
from typing import Any

from featnorm_se.report.experiments import Experiment
from featnorm_se.report.labels import series_numbers, short_labels


def make(*runs: dict[str, Any]) -> list[Experiment]:
    models = [Experiment(f"folder{i}", Path(), run) for i, run in enumerate(runs)]
    return [Experiment("noisy", Path()), *models]


def test_only_what_tells_them_apart() -> None:
    none = {"upstream": "tera", "norm": "none", "norm_site": "projection", "seed": 0}
    fn = {**none, "norm": "utterance"}
    assert short_labels(make(none, fn)) == {
        "noisy": "noisy",
        "folder0": "tera none",
        "folder1": "tera utterance",
    }
    site = {**fn, "norm_site": "layer.3"}
    assert short_labels(make(fn, site))["folder1"] == "tera utterance layer.3"
    seed = {**none, "seed": 1}
    assert short_labels(make(none, seed))["folder1"] == "tera none projection pre-trained seed 1"


def test_folders_where_the_records_do_not_suffice() -> None:
    same = {"upstream": "tera", "norm": "none"}
    assert short_labels(make(same, same))["folder1"] == "folder1"
    assert short_labels(make({}, same))["folder0"] == "folder0"


def test_numbers_leave_noisy_out() -> None:
    experiments = make({"upstream": "tera", "norm": "none"}, {"upstream": "wavlm", "norm": "none"})
    labels = short_labels(experiments)
    assert series_numbers(experiments, labels) == {"tera none": 0, "wavlm none": 1}
