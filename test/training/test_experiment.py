"""One experiment's configuration and record, and what is refused before training starts."""

from __future__ import annotations

import json
import sys
from datetime import timedelta

import numpy as np
import pytest
import torch

from featnorm_se.config import override_config
from featnorm_se.errors import FeatnormError
from featnorm_se.training.experiment import _config_hash, read_training_config
from featnorm_se.training.record import RunRecord, process_rank


def test_overrides_are_yaml_values():
    config = {"optim_conf": {"lr": 0.1}}
    words = ("optim_conf.lr=1.0e-3", "a.b.c=[1, two]", "max_epoch=3", "init=null")
    config = override_config(config, words)
    assert config == {
        "optim_conf": {"lr": 0.001},
        "a": {"b": {"c": [1, "two"]}},
        "max_epoch": 3,
        "init": None,
    }


def test_an_exponent_needs_no_dot(tmp_path):
    config = {"optim_conf": {"lr": 0.1}}
    assert override_config(config, ["optim_conf.lr=1e-4"]) == {"optim_conf": {"lr": 1e-4}}
    (tmp_path / "train.yaml").write_text("a: 1e-4\nb: '1e-4'\nc: [-2E+3, .5e3, e5, 1e]\n")
    wanted = {"a": 1e-4, "b": "1e-4", "c": [-2000.0, 500.0, "e5", "1e"]}
    assert read_training_config(tmp_path / "train.yaml") == wanted


def test_the_rank_of_a_process_is_what_its_launcher_says(monkeypatch):
    for name in ("RANK", "SLURM_PROCID", "SLURM_NTASKS"):
        monkeypatch.delenv(name, raising=False)
    assert process_rank({}) == 0
    assert process_rank({"dist_rank": "3", "dist_world_size": "4"}) == 3
    monkeypatch.setenv("RANK", "1")
    assert process_rank({}) == 1
    with pytest.raises(FeatnormError, match=r"--dist_launcher slurm: .*srun"):
        process_rank({"dist_launcher": "slurm"})
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(FeatnormError, match="need the package mpi4py"):
        process_rank({"dist_launcher": "mpi"})
    step = {"PROCID": "1", "NTASKS": "2", "STEP_NUM_NODES": "2", "STEP_NODELIST": "n[1-2]"}
    for key, value in {**step, "NODEID": "1"}.items():
        monkeypatch.setenv(f"SLURM_{key}", value)
    assert process_rank({"dist_launcher": "slurm"}) == 1
    monkeypatch.setenv("SLURM_NTASKS", "4")  # two tasks a node, which ESPnet does not take
    with pytest.raises(FeatnormError, match="ntasks_per_node=1"):
        process_rank({"dist_launcher": "slurm"})


@pytest.mark.parametrize("override", ["lr", "=3", "a..b=1", "a=[1"])
def test_bad_overrides_are_named(override):
    with pytest.raises(FeatnormError, match="--set"):
        override_config({"optim_conf": {"lr": 0.1}}, [override])


@pytest.mark.parametrize(
    ("text", "told"),
    [("a: [1", "is no YAML"), ("- 1\n- 2\n", "holds no 'key: value'")],
)
def test_bad_configurations_are_named(tmp_path, text, told):
    path = tmp_path / "train.yaml"
    path.write_text(text)
    with pytest.raises(FeatnormError, match=told):
        read_training_config(path)
    with pytest.raises(FeatnormError, match="cannot read --config"):
        read_training_config(tmp_path / "none.yaml")


def save_checkpoint(folder, epochs: int) -> None:
    """Write what ESPnet's trainer keeps: its figures are numpy numbers and time spans."""
    seconds = {"time": timedelta(seconds=10), "loss": np.float64(0.5)}
    stats = {
        k + 1: {
            "train": dict(seconds),
            "valid": {"time": timedelta(seconds=1), "loss": np.float64(0.25)},
        }
        for k in range(epochs)
    }
    parts = {"model": {}, "optimizers": [], "schedulers": []}
    torch.save({"reporter": {"stats": stats, "epoch": epochs}, **parts}, folder / "checkpoint.pth")


def test_a_resumed_run_adds_to_its_record(tmp_path):
    about = {"name": "x", "seed": 1, "max_epoch": 3}
    assert not RunRecord.is_finished(tmp_path, about)
    RunRecord.start(tmp_path, about)
    first = json.loads((tmp_path / "run.json").read_text())
    assert (first["finished"], first["resumed"]) == (None, [])
    # The process is killed here, and the command is run again.
    record = RunRecord.start(tmp_path, about)
    assert not RunRecord.is_finished(tmp_path, about)
    save_checkpoint(tmp_path, 3)
    (tmp_path / "valid.loss.best.pth").symlink_to("2epoch.pth")
    record.finish()
    last = json.loads((tmp_path / "run.json").read_text())
    assert last["training_seconds"] == 33.0
    assert last["started"] == first["started"]
    assert len(last["resumed"]) == 1
    assert (last["epochs"], last["best_epoch"]) == (3, 2)
    assert last["result"] == {"status": "finished", "valid_loss": 0.25}
    assert RunRecord.is_finished(tmp_path, about)
    assert not RunRecord.is_finished(tmp_path, {**about, "max_epoch": 4})


def test_a_run_that_fails_says_why(tmp_path):
    record = RunRecord.start(tmp_path, {"name": "x"})
    told = json.loads((tmp_path / "run.json").read_text())
    assert told["result"] == {"status": "running"}
    assert {"host", "machine", "versions", "commit", "dirty", "started"} <= told.keys()
    record.fail("FeatnormError: the loss was not finite")
    told = json.loads((tmp_path / "run.json").read_text())
    assert (told["result"]["status"], told["finished"]) == ("failed", None)
    assert told["result"]["reason"] == "FeatnormError: the loss was not finite"
    assert told["result"]["ended"]
    # Where it cannot be written, the reason itself is what the caller goes on to tell.
    RunRecord(tmp_path / "run.json" / "no_folder", {}).fail("FeatnormError: no room")


def test_a_folder_of_another_experiment_is_refused(tmp_path):
    RunRecord.start(tmp_path, {"name": "x", "seed": 1, "norm": "none"})
    with pytest.raises(FeatnormError, match="norm 'none', this run has 'utterance'"):
        RunRecord.start(tmp_path, {"name": "x", "seed": 1, "norm": "utterance"})


def test_a_run_may_move_but_not_change():
    config = {"optim_conf": {"lr": 0.1}, "output_dir": "exp/a", "max_epoch": 3, "ngpu": 0}
    moved = {**config, "output_dir": "/data/exp/a", "max_epoch": 9, "clean_stats": "/x.npz"}
    assert _config_hash(moved) == _config_hash(config)
    assert _config_hash({**config, "optim_conf": {"lr": 0.2}}) != _config_hash(config)
