"""The command of pre-training: what it writes and what it refuses."""

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

OBJECTIVE = {
    "loss": "L1", "mask_proportion": 0.15, "mask_consecutive_min": 7, "mask_consecutive_max": 7,
    "mask_allow_overlap": True, "mask_bucket_ratio": 1.2, "mask_frequency": 0.0,
    "noise_proportion": 0.0,
}  # fmt: skip


@pytest.fixture
def options(tmp_path: Path) -> list[str]:
    rng = np.random.default_rng(0)
    for name in ("anna", "bert", "carl"):
        folder = tmp_path / "speech" / name
        folder.mkdir(parents=True)
        soundfile.write(folder / "a.flac", 0.1 * rng.standard_normal(16000 * 2), 16000)
    plan = {
        "objective": OBJECTIVE,
        "crop_seconds": [1],
        "batch_seconds": 2,
        "steps": 2,
        "interval": 1,
    }
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


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--upstream", "wavlm_tiny"], "only mockingjay and tera are pre-trained"),
        (["--speech_root", "/no/speech"], "no such folder: /no/speech"),
        (["--valid_speakers", "dora"], "the speaker dora to hold out is not there"),
        (["--config", "/no/plan.yaml"], "/no/plan.yaml"),
    ],
)
def test_bad_input_is_one_line(options, more, message, capsys, tmp_path: Path) -> None:
    assert run(main, [*options, *more]) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and message in lines[0]
    assert not (tmp_path / "exp").exists()
