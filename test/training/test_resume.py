"""A training that was cut goes on to the very same weights, wherever the cut came."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
import yaml
from tiny_models import training_config

from featnorm_se.data.datadir import Utterance, write_data_dir
from featnorm_se.errors import FeatnormError
from featnorm_se.training.checkpoints import epochs_to_do, read_checkpoint, whole_files
from featnorm_se.training.experiment import Experiment, train

EPOCHS = 3


class Cut(BaseException):
    """Stands for a kill: nothing of ours catches it."""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> SimpleNamespace:
    """Two data directories and a configuration with dropout, shuffling and a schedule."""
    torch.set_num_threads(1)  # as in the tests: the same bits take the same number of threads
    root = tmp_path_factory.mktemp("recipe")
    rng = np.random.default_rng(0)
    for part, count in (("train", 4), ("valid", 2)):
        utterances = []
        for number in range(count):
            name = f"{part}_{number}"
            paths = [str(root / f"{name}.{kind}.wav") for kind in ("noisy", "clean")]
            for path in paths:
                soundfile.write(path, 0.1 * rng.normal(size=8000), 16000)
            utterances.append(Utterance(name, *paths, part, 0.5))
        write_data_dir(root / "data" / part, utterances)
    config = training_config(upstream_dropout=0.1, dropout=0.1)
    config |= {"scheduler": "warmuplr", "scheduler_conf": {"warmup_steps": 5}}
    config |= {"max_epoch": EPOCHS, "chunk_length": 4000, "keep_nbest_models": 2}
    (root / "train.yaml").write_text(yaml.safe_dump(config))
    run = Experiment(
        expdir=root / "whole",
        config=root / "train.yaml",
        train_dir=root / "data" / "train",
        valid_dir=root / "data" / "valid",
        upstream="tera_tiny",
        upstream_ckpt="scratch",
    )
    train(run)
    return SimpleNamespace(root=root, run=run, states=all_states(root / "whole"))


def all_states(folder: Path) -> dict[str, object]:
    """Return every weight, the optimizer's state and the links of an experiment."""
    found: dict[str, object] = {}
    for path in sorted(folder.glob("*.pth")):
        if path.is_symlink():
            found[path.name] = os.readlink(path)
            continue
        states = torch.load(path, weights_only=False)
        if path.name == "checkpoint.pth":
            found["schedule"] = states["schedulers"]
            for key, state in states["optimizers"][0]["state"].items():
                found |= {f"optimizer.{key}.{name}": value for name, value in state.items()}
            states = states["model"]
        found |= {f"{path.name}.{key}": value for key, value in states.items()}
    return found


def check_same(found: dict[str, object], wanted: dict[str, object]) -> None:
    assert found.keys() == wanted.keys()
    for key, value in wanted.items():
        same = torch.equal(value, found[key]) if torch.is_tensor(value) else value == found[key]
        assert same, key


def strike_at(monkeypatch, owner, name: str, call: int) -> None:
    """Let the n-th call of a function be the last thing that happens."""
    real = getattr(owner, name)
    calls = []

    def struck(*args, **kwargs):
        calls.append(1)
        if len(calls) == call:
            raise Cut(name)
        return real(*args, **kwargs)

    monkeypatch.setattr(owner, name, struck)


@pytest.mark.parametrize(
    ("owner", "name", "call"),
    [
        (torch.optim.Adam, "step", 3),  # within the first epoch
        (torch.optim.Adam, "step", 9),  # within the second
        (torch, "save", 3),  # before the second epoch's checkpoint
        (torch, "save", 4),  # after it, before the epoch's weights
        (torch, "save", 6),  # the same in the last epoch
        (Path, "symlink_to", 3),  # after the old link was removed
        (Path, "symlink_to", 5),
        (torch, "save", 7),  # before the average is saved
    ],
)
def test_a_cut_run_ends_with_the_same_weights(recipe, tmp_path, monkeypatch, owner, name, call):
    run = Experiment(**{**vars(recipe.run), "expdir": tmp_path / "cut"})
    with monkeypatch.context() as patched:
        strike_at(patched, owner, name, call)
        with pytest.raises(Cut):
            train(run)
    assert not json.loads((run.expdir / "run.json").read_text())["finished"]
    assert not [path for path in run.expdir.iterdir() if ".tmp." in path.name]
    train(run)
    check_same(all_states(run.expdir), recipe.states)


def save_epochs(folder: Path, losses: list[float]) -> None:
    """Write the checkpoint of a run whose validation losses were these."""
    stats = {
        epoch: {"valid": {"loss": np.float64(loss), "time": timedelta(seconds=1)}}
        for epoch, loss in enumerate(losses, start=1)
    }
    reporter = {"epoch": len(losses), "stats": stats}
    states = {"model": {"w": torch.ones(2)}, "reporter": reporter}
    torch.save({**states, "optimizers": [], "schedulers": []}, folder / "checkpoint.pth")


def options(folder: Path, patience: int | None = None) -> SimpleNamespace:
    criterion = ("valid", "loss", "min")
    return SimpleNamespace(
        output_dir=folder,
        max_epoch=9,
        patience=patience,
        best_model_criterion=[criterion],
        keep_nbest_models=[1],
        early_stopping_criterion=criterion,
    )


def test_the_last_epoch_and_the_links_are_mended(tmp_path):
    save_epochs(tmp_path, [0.5, 0.3, 0.4])
    (tmp_path / "latest.pth").symlink_to("2epoch.pth")
    (tmp_path / ".123.tmp.0123456789ab.pth").touch()  # of a writer that was killed
    for epoch in (1, 2):
        (tmp_path / f"{epoch}epoch.pth").touch()
    assert epochs_to_do(options(tmp_path), mend=False) == 9
    assert os.readlink(tmp_path / "latest.pth") == "2epoch.pth"
    assert epochs_to_do(options(tmp_path)) == 9
    assert os.readlink(tmp_path / "latest.pth") == "3epoch.pth"
    assert not list(tmp_path.glob(".*"))
    assert os.readlink(tmp_path / "valid.loss.best.pth") == "2epoch.pth"
    assert torch.equal(torch.load(tmp_path / "3epoch.pth")["w"], torch.ones(2))
    assert sorted(path.name for path in tmp_path.glob("?epoch.pth")) == ["2epoch.pth", "3epoch.pth"]


def test_a_run_cut_right_when_it_stops_early_stays_stopped(tmp_path):
    assert epochs_to_do(options(tmp_path, patience=1)) == 9  # nothing there yet
    save_epochs(tmp_path, [0.3, 0.4])
    assert epochs_to_do(options(tmp_path, patience=1)) == 9
    save_epochs(tmp_path, [0.3, 0.4, 0.5])
    assert epochs_to_do(options(tmp_path, patience=1)) == 3


def test_a_cut_checkpoint_is_refused(tmp_path):
    save_epochs(tmp_path, [0.5])
    path = tmp_path / "checkpoint.pth"
    whole = path.read_bytes()
    for size in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(FeatnormError, match="no whole checkpoint"):
            read_checkpoint(path)
    torch.save({"model": {}}, path)
    with pytest.raises(FeatnormError, match="lacks"):
        read_checkpoint(path)


class Breaks:
    """Cannot be pickled to its end."""

    def __reduce__(self):
        raise Cut


def test_what_espnet_saves_is_whole_or_as_it_was(tmp_path):
    from espnet2.tasks import abs_task

    plain = torch.save, abs_task.yaml_no_alias_safe_dump
    path = tmp_path / "checkpoint.pth"
    with whole_files():
        torch.save({"w": torch.zeros(1000)}, path)
        before = path.read_bytes()
        with pytest.raises(Cut):
            torch.save({"w": torch.ones(1000), "x": Breaks()}, path)
        with open(tmp_path / "config.yaml", "w") as handle:
            abs_task.yaml_no_alias_safe_dump({"a": 1}, handle)
    assert path.read_bytes() == before
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["checkpoint.pth", "config.yaml"]
    assert (tmp_path / "config.yaml").read_text() == "a: 1\n"
    assert (torch.save, abs_task.yaml_no_alias_safe_dump) == plain


def test_a_full_disk_says_so_when_a_checkpoint_is_saved(tmp_path):
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full")
    from featnorm_se.upstream.checkpoint import _write

    with pytest.raises(OSError, match="No space left"):
        _write(torch.save, {"w": torch.zeros(100_000)}, Path("/dev/full"))
