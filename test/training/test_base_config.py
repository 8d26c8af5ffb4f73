"""A small training YAML that names its base."""

from __future__ import annotations

from pathlib import Path

import pytest

from featnorm_se.errors import FeatnormError
from featnorm_se.training.experiment import read_config


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_groups_are_merged_and_lists_are_replaced(tmp_path: Path) -> None:
    write(tmp_path, "a.yaml", "conf: {x: 1, y: {z: 2, w: 3}}\nlist: [1, 2]\nlr: 0.1\n")
    write(tmp_path, "b.yaml", "base: a.yaml\nconf: {y: {z: 5}}\nnew: 7\n")
    config = read_config(write(tmp_path, "c.yaml", "base: b.yaml\nlist: [3]\nlr: null\n"))
    assert config == {
        "conf": {"x": 1, "y": {"z": 5, "w": 3}},
        "list": [3],
        "lr": None,
        "new": 7,
    }


def test_another_part_does_not_get_the_conf_of_the_base_s(tmp_path: Path) -> None:
    base = "scheduler: warmuplr\nscheduler_conf: {warmup_steps: 400}\n"
    write(tmp_path, "a.yaml", base + "optim: adam\noptim_conf: {lr: 1}\n")
    text = "base: a.yaml\nscheduler: tristagelr\nscheduler_conf: {max_steps: 3}\noptim: adam\n"
    assert read_config(write(tmp_path, "b.yaml", text)) == {
        "scheduler": "tristagelr",
        "scheduler_conf": {"max_steps": 3},
        "optim": "adam",
        "optim_conf": {"lr": 1},
    }


def test_a_bad_base_is_told(tmp_path: Path) -> None:
    with pytest.raises(FeatnormError, match="cannot read --config .*gone.yaml"):
        read_config(write(tmp_path, "a.yaml", "base: gone.yaml\n"))
    write(tmp_path, "b.yaml", "base: c.yaml\n")
    with pytest.raises(FeatnormError, match="is its own base"):
        read_config(write(tmp_path, "c.yaml", "base: b.yaml\n"))
