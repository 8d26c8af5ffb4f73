from __future__ import annotations

import json
from pathlib import Path

import pytest

from featnorm_se.errors import FeatnormError
from featnorm_se.report.experiments import (
    Experiment,
    names_of_testsets,
    read_experiments,
    read_scores,
)


def test_noisy_first_and_only_what_counts(expdir: Path) -> None:
    found = read_experiments(expdir)
    assert [experiment.name for experiment in found] == ["noisy", "tera_none", "tera_utterance"]
    assert found[0].is_noisy and found[0].run == {}
    assert found[1].start == "scratch"
    assert found[2].mean("test", "PESQ_WB") > found[1].mean("test", "PESQ_WB")  # type: ignore
    assert found[1].mean("test", "COVL") is None
    assert found[1].mean("other", "PESQ_WB") is None
    assert len(found[1].scores("test")) == 12
    assert names_of_testsets(found) == ["test"]


def test_start() -> None:
    assert Experiment("x", Path()).start == ""
    assert Experiment("x", Path(), {"upstream": "wavlm"}).start == "pre-trained"
    assert Experiment("x", Path(), {"upstream": "wavlm", "upstream_ckpt": "a.pt"}).start == (
        "pre-trained"
    )


def test_missing_and_broken_folders_are_told(tmp_path: Path, expdir: Path) -> None:
    with pytest.raises(FeatnormError, match="no experiments folder"):
        read_experiments(tmp_path / "gone")
    (tmp_path / "empty/tera").mkdir(parents=True)
    (tmp_path / "empty/tera/run.json").write_text("{}")
    with pytest.raises(FeatnormError, match="no scores .*run stage 4"):
        read_experiments(tmp_path / "empty")
    (expdir / "tera_none/run.json").write_text('{"name": "te')
    with pytest.raises(FeatnormError, match="tera_none/run.json is no JSON"):
        read_experiments(expdir)
    (expdir / "tera_none/run.json").write_text(json.dumps([1]))
    with pytest.raises(FeatnormError, match="holds no JSON object"):
        read_experiments(expdir)


def test_scores_leave_empty_cells_out(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text("utt_id,PESQ_WB,STOI,reason\na,1.5,,too short\nb,,,gone\n")
    assert read_scores(path) == {"a": {"PESQ_WB": 1.5}, "b": {}}
    path.write_text("utt_id,PESQ_WB\na,good\n")
    with pytest.raises(FeatnormError, match="no table of scores"):
        read_scores(path)
    with pytest.raises(FeatnormError, match="no table of scores"):
        read_scores(tmp_path / "gone.csv")
