"""The command of pre-training: what it writes, and that it is not done twice."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from pretrain import main

from featnorm_se.bin import run
from featnorm_se.upstream import load_upstream


@pytest.fixture
def options(tmp_path: Path) -> list[str]:
    rng = np.random.default_rng(0)
    for name in ("anna", "bert", "carl"):
        folder = tmp_path / "speech" / name
        folder.mkdir(parents=True)
        soundfile.write(folder / "a.flac", 0.1 * rng.standard_normal(16000 * 2), 16000)
    base = Path(__file__).parents[3] / "egs" / "mini" / "ssl1" / "conf" / "mockingjay.yaml"
    plan = yaml.safe_load(base.read_text())
    plan |= {"crop_seconds": [1], "batch_seconds": 2, "steps": 2, "interval": 1}
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan))
    places = ["--speech_root", str(tmp_path / "speech"), "--config", str(tmp_path / "plan.yaml")]
    return [*places, "--expdir", str(tmp_path / "exp"), "--upstream", "mockingjay_tiny"]


def test_a_checkpoint_a_curve_and_what_they_stand_on(options, tmp_path: Path, capsys) -> None:
    assert run(main, [*options, "--valid_speakers", "bert"]) == 0
    printed = capsys.readouterr().out
    assert "after 2 steps" in printed
    with open(tmp_path / "exp" / "curve.csv", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert [row["step"] for row in rows] == ["0", "1", "2"]
    assert all(0 < float(row["valid"]) < 2 for row in rows)
    assert (tmp_path / "exp" / "curve.png").read_bytes()[:4] == b"\x89PNG"
    settings = json.loads((tmp_path / "exp" / "settings.json").read_text())
    assert settings["speech"]["valid"]["names"] == ["bert"]
    assert settings["speech"]["train"]["speakers"] == 2
    path = tmp_path / "exp" / "mockingjay_tiny.pt"
    assert str(path) in printed
    assert load_upstream("mockingjay_tiny", path).identity.startswith("sha256:")

    assert run(main, [*options, "--valid_speakers", "bert"]) == 0
    assert "is pre-trained already" in capsys.readouterr().out
    assert run(main, [*options, "--valid_speakers", "anna"]) == 1
    assert "holds a run with another speech" in capsys.readouterr().err
