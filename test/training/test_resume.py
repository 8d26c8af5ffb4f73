"""A training that was killed goes on to the very same weights, wherever the kill came."""

import io
import itertools
import json
import logging
import os
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
import yaml
from bad_inputs_world import Payload
from forked import fork
from golden_numbers import write_pairs
from pesq import pesq
from tiny_models import training_config

from featnorm_se import Enhancer
from featnorm_se.bin import run as run_command
from featnorm_se.data.datadir import stamp_recordings
from featnorm_se.data.scp import read_scp
from featnorm_se.errors import FeatnormError
from featnorm_se.files import write_json
from featnorm_se.inference.model_file import read_model
from featnorm_se.metrics.pair import si_sdr
from featnorm_se.training import record
from featnorm_se.training.experiment import Experiment, train
from featnorm_se.training.record import read_checkpoint


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> SimpleNamespace:
    """Two data directories and a configuration with dropout, shuffling and a schedule."""
    torch.set_num_threads(1)  # as in the tests: the same bits take the same number of threads
    root = tmp_path_factory.mktemp("recipe")
    for part, count in (("train", 4), ("valid", 2)):
        write_pairs(root / part, count, 8000, 0)
    config = training_config(upstream_dropout=0.1, dropout=0.1)
    config |= {"scheduler": "warmuplr", "scheduler_conf": {"warmup_steps": 5}}
    config |= {"max_epoch": 3, "chunk_length": 4000, "keep_nbest_models": 2}
    (root / "train.yaml").write_text(yaml.safe_dump(config))
    places = {f"{part}_dir": root / part for part in ("train", "valid")}
    told = {"upstream": "tera_tiny", "upstream_ckpt": "scratch", "norm": "none"}
    told |= {"norm_site": "auto", "seed": 0, "ngpu": 0, **places}
    run = Experiment(expdir=root / "whole", config=root / "train.yaml", **told)
    train(run)
    return SimpleNamespace(run=run, states=all_states(root / "whole"))


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


def train_until(start: Callable, owner: object, name: str, call: int, number: int) -> None:
    """Train in a process of its own that gets a signal at the n-th call of a function."""
    real, calls = getattr(owner, name), itertools.count(1)

    def struck(*args, **kwargs):
        if next(calls) == call:
            if owner is torch:  # half of the file is there
                whole = io.BytesIO()
                real(args[0], whole)
                Path(args[1]).write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
            os.kill(os.getpid(), number)
        return real(*args, **kwargs)

    setattr(owner, name, struck)
    os._exit(run_command(lambda _: start(), []))


@pytest.mark.parametrize(
    ("owner", "name", "call", "number"),
    [
        (torch.optim.Adam, "step", 9, signal.SIGTERM),  # within the second epoch
        (torch, "save", 1, signal.SIGKILL),  # within the first epoch's checkpoint
        (torch, "save", 3, signal.SIGTERM),  # within the second's
        (torch, "save", 6, signal.SIGKILL),  # within the last epoch's weights
        (Path, "symlink_to", 3, signal.SIGKILL),  # after the old link was removed
        (torch, "save", 7, signal.SIGTERM),  # within the average
    ],
)
def test_a_killed_run_ends_with_the_same_weights(recipe, tmp_path, owner, name, call, number):
    run = Experiment(**{**vars(recipe.run), "expdir": tmp_path / "cut"})
    process = fork(train_until, partial(train, run), owner, name, call, number)
    process.join(60)
    assert process.exitcode == (143 if number == signal.SIGTERM else -number)
    assert not json.loads((run.expdir / "run.json").read_text())["finished"]
    train(run)
    check_same(all_states(run.expdir), recipe.states)
    assert not list(run.expdir.glob(".*"))


def test_a_finished_run_is_left_alone_until_more_epochs_are_asked_for(recipe, tmp_path, capsys):
    run = Experiment(
        **{**vars(recipe.run), "expdir": tmp_path / "one", "overrides": ["max_epoch=2"]}
    )
    train(run)
    before = (run.expdir / "run.json").read_bytes()
    train(run)
    assert "is trained already" in capsys.readouterr().err
    train(replace(run, overrides=["max_epoch=1"]))
    assert "has max_epoch 2, not 1: another --tag trains anew" in capsys.readouterr().err
    assert (run.expdir / "run.json").read_bytes() == before
    with pytest.raises(FeatnormError, match="seed 0, this run has 1; .*: give it another --tag"):
        train(Experiment(**{**vars(run), "seed": 1}))
    train(Experiment(**{**vars(recipe.run), "expdir": run.expdir}))
    check_same(all_states(run.expdir), recipe.states)
    record = json.loads((run.expdir / "run.json").read_text())
    assert (record["epochs"], len(record["resumed"])) == (3, 1)
    assert record["result"]["status"] == "finished" and record["parameters"]["total"] > 0


def trained(recipe, folder: Path, *overrides: str, epochs: int = 2) -> dict:
    settings = [f"max_epoch={epochs}", *overrides]
    train(Experiment(**{**vars(recipe.run), "expdir": folder, "overrides": settings}))
    return json.loads((folder / "run.json").read_text())


def test_noises_that_training_draws_are_the_same_after_a_break(recipe, tmp_path):
    noise = np.random.default_rng(1).normal(0, 0.1, 16000)
    soundfile.write(tmp_path / "noise.wav", noise, 16000)
    (tmp_path / "noise.scp").write_text(f"noise {tmp_path / 'noise.wav'}\n")
    drawn = ("preprocessor=enh", f"noise_scp={tmp_path / 'noise.scp'}", "noise_db_range='0_15'")
    for folder, settings, runs in (
        ("plain", (), [2]),
        ("whole", drawn, [2]),
        ("cut", drawn, [1, 2]),
    ):
        for epochs in runs:
            trained(recipe, tmp_path / folder, *settings, epochs=epochs)
    plain, whole, cut = (all_states(tmp_path / folder) for folder in ("plain", "whole", "cut"))
    check_same({name: cut[name] for name in whole}, whole)
    key = "checkpoint.pth.separator.head.mask.weight"
    assert not torch.equal(plain[key], whole[key])


@pytest.mark.parametrize(
    ("phase", "figure", "mode"),
    [("valid", "si_snr", "max"), ("valid", "pesq_wb", "max"), ("train", "loss", "min")],
)
def test_the_configured_figure_chooses_the_best_model(recipe, tmp_path, phase, figure, mode):
    setting = f"best_model_criterion=[[{phase},{figure},{mode}],[valid,loss,min]]"
    record = trained(recipe, tmp_path / "exp", setting, "keep_nbest_models=[9,3,2]", epochs=3)
    stats = read_checkpoint(tmp_path / "exp" / "checkpoint.pth")["reporter"]["stats"]
    values = {epoch: stats[epoch][phase][figure] for epoch in stats}
    best = (max if mode == "max" else min)(values, key=values.__getitem__)
    assert record["best_epoch"] == best
    assert record["result"]["valid_loss"] == stats[best]["valid"]["loss"]
    _, weights = read_model(tmp_path / "exp")
    wanted = torch.load(tmp_path / "exp" / f"{best}epoch.pth", weights_only=True)
    assert all(torch.equal(weights[key], value) for key, value in wanted.items())
    key, order = "separator.head.mask.weight", sorted(values, key=values.__getitem__)
    order = order[::-1] if mode == "max" else order
    for count in (2, 3):  # each average is of its own epochs, whichever was made before it
        epochs = [torch.load(tmp_path / "exp" / f"{n}epoch.pth")[key] for n in order[:count]]
        for name in (f"{phase}.{figure}", "valid.loss")[: count - 1]:
            mean = torch.load(tmp_path / "exp" / f"{name}.ave_{count}best.pth")[key]
            torch.testing.assert_close(mean, sum(epochs) / count)
    assert os.readlink(tmp_path / "exp" / "valid.loss.ave.pth") == "valid.loss.ave_3best.pth"
    if phase == "valid":  # a figure, and no part of the loss
        assert stats[best]["valid"]["loss"] == stats[best]["valid"]["log1p_l1"]
        enhancer = Enhancer.from_pretrained(tmp_path / "exp")
        pairs = [read_scp(recipe.run.valid_dir / name) for name in ("wav.scp", "spk1.scp")]
        noisy, clean = ([soundfile.read(path) for path in scp.values()] for scp in pairs)
        score = si_sdr if figure == "si_snr" else lambda *pair: pesq(16000, *pair, "wb")
        found = [score(s[0], enhancer(*x)) for x, s in zip(noisy, clean, strict=True)]
        assert values[best] == pytest.approx(np.mean(found), abs=0.01)


REFUSED = {
    "best_model_criterion=[[train,si_snr,max]]": "train si_snr max is never reported",
    "use_amp=true": "use_amp is separator_conf.precision=bf16 here",
    "model_conf.normalize_variance=true": "normalize_variance True: enhancing would not do it",
    "exclude_weight_decay=true": "exclude_weight_decay True: optim_conf.weight_decay is for all",
    "no_forward_run=true": "no_forward_run True: it trains nothing",
    "accum_grad=1.5": "accum_grad 1.5: 1 or",
    "nbest_averaging_interval=1": "nbest_averaging_interval 1: averages are made at the end",
    "separator=conformer": "separator 'conformer': here it is featnorm, with separator_conf.head",
    "encoder=conv": "encoder 'conv': here it is stft",
    "seed=1": "seed 1 .* --seed 0",
    "upstream_ckpt=x.pt": "--set upstream_ckpt=x.pt does not count",
    "separator_conf.norm=utterance": "norm 'utterance' .* --norm 'none'",
    "separator_conf.norm_site=last": r"norm_site \['layer.3'\] .* --norm_site \['projection'\]",
}


def test_what_would_fail_later_is_refused_first_and_claims_nothing(recipe, tmp_path):
    for setting, told in REFUSED.items():
        with pytest.raises(FeatnormError, match=told):
            trained(recipe, tmp_path / "exp", setting)
        assert not (tmp_path / "exp" / "run.json").exists()
    trained(recipe, tmp_path / "exp", epochs=1)


def test_a_model_that_is_lost_in_an_epoch_is_not_its_best(recipe, tmp_path):
    with pytest.raises(FeatnormError, match="loss was not finite in epoch 1, validation step 1"):
        trained(recipe, tmp_path / "exp", "optim_conf.lr=1e30")
    assert not list((tmp_path / "exp").glob("*.pth"))


def test_recordings_of_after_stage_1_are_told(recipe, tmp_path, capsys):
    places = {f"{part}_dir": tmp_path / part for part in ("train", "valid")}
    for folder in places.values():
        write_pairs(folder, 3, 8000, 0)
    known = {folder.name: stamp_recordings(folder) for folder in places.values()}
    write_json(tmp_path / "prepare.json", {"recordings": known})
    run = replace(recipe.run, expdir=tmp_path / "exp", overrides=["max_epoch=1"], **places)
    train(run)
    assert "names other recordings" not in capsys.readouterr().err
    shutil.rmtree(tmp_path / "valid")
    write_pairs(tmp_path / "valid", 3, 8000, 1)
    train(run)
    told = [line for line in capsys.readouterr().err.splitlines() if "names other" in line]
    assert len(told) == 1 and f"{tmp_path / 'valid'} names other recordings" in told[0]


def test_recordings_that_are_made_anew_meanwhile_end_it(recipe, tmp_path, monkeypatch):
    data, begin = tmp_path / "data", record.begin_saving
    places = {f"{part}_dir": data / part for part in ("train", "valid")}
    for part in ("train", "valid"):
        write_pairs(data / part, 3, 8000, 0)

    def saved(folder: Path) -> None:
        begin(folder)
        shutil.rmtree(data / "train")
        write_pairs(data / "train", 3, 8000, 1)

    monkeypatch.setattr(record, "begin_saving", saved)
    with pytest.raises(FeatnormError, match="train_00.*were written anew or moved meanwhile"):
        train(replace(recipe.run, expdir=tmp_path / "exp", **places))
    assert not (tmp_path / "exp" / "2epoch.pth").exists()
    stats = read_checkpoint(tmp_path / "exp" / "checkpoint.pth")["reporter"]["stats"]
    assert stats.keys() == {1}


def test_whole_utterances_and_another_scheduler(recipe, tmp_path):
    """And `scheduler` alone does not keep what the YAML says of the one that it replaces."""
    settings = ("iterator_type=sequence", "scheduler=exponentiallr", "scheduler_conf.gamma=0.5")
    trained(recipe, tmp_path / "exp", *settings, epochs=1)
    stats = read_checkpoint(tmp_path / "exp" / "checkpoint.pth")["reporter"]["stats"]
    assert stats[1]["train"]["total_count"] == 2  # four utterances, two a step
    config = yaml.safe_load((tmp_path / "exp" / "config.yaml").read_text())
    assert config["scheduler_conf"] == {"gamma": 0.5}


def test_a_checkpoint_that_is_cut_or_runs_code_is_refused(recipe, tmp_path):
    whole = (recipe.run.expdir / "checkpoint.pth").read_bytes()
    path = tmp_path / "checkpoint.pth"
    for size in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(FeatnormError, match="cut short or no checkpoint"):
            read_checkpoint(path)
    hostile = read_checkpoint(recipe.run.expdir / path.name) | {"x": Payload(tmp_path / "ran")}
    for states in ({"model": {}}, hostile):
        torch.save(states, path)
        with pytest.raises(FeatnormError, match="lacks optimizers|execute code"):
            read_checkpoint(path)
    assert not (tmp_path / "ran").exists()


def logged(start: Callable, log: Path) -> None:
    """Train as a process does in which nothing has set logging up."""
    logging.getLogger().handlers.clear()
    sys.stderr = log.open("w", buffering=1)
    start()


def test_epochs_are_logged_whatever_espnet_says_before(recipe, tmp_path):
    """It logs how it draws weights, before it sets its log up."""
    settings = ["init=xavier_uniform", "max_epoch=1"]
    run = replace(recipe.run, expdir=tmp_path / "exp", overrides=settings)
    fork(logged, partial(train, run), tmp_path / "train.log").join(60)
    assert " 1epoch results: " in (tmp_path / "train.log").read_text()


def test_what_is_told_of_steps_is_their_loss_and_a_warm_up_without_end(recipe, tmp_path, capsys):
    """ESPnet reports a loss that it has divided by accum_grad."""
    losses = []
    for steps in (1, 2):
        settings = [f"accum_grad={steps}", "optim_conf.lr=0", "scheduler_conf.warmup_steps=9"]
        settings += ["separator_conf.upstream_dropout=0", "separator_conf.dropout=0"]
        record = trained(recipe, tmp_path / f"{steps}", *settings, epochs=1)
        stats = read_checkpoint(tmp_path / f"{steps}" / "checkpoint.pth")["reporter"]["stats"]
        losses.append(stats[1]["train"]["loss"])
        told = capsys.readouterr().err
        assert f"training ends after {6 // steps} steps, within the warm-up of 9" in told
    assert losses[0] == pytest.approx(losses[1], rel=1e-3) and record["epochs"] == 1
