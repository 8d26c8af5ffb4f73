"""One experiment's configuration and record, and what is refused before training starts."""

import subprocess
from contextlib import suppress

import numpy as np
import pytest
import torch
from pesq import pesq

from featnorm_se.bin import run
from featnorm_se.config import override_config
from featnorm_se.errors import FeatnormError
from featnorm_se.files import sha256_file, write_json
from featnorm_se.training import record
from featnorm_se.training.experiment import add_figures, process_rank, read_training_config
from featnorm_se.training.task import criterion_choices, register


def test_an_exponent_needs_no_dot(tmp_path):
    config = {"optim_conf": {"lr": 0.1}}
    assert override_config(config, ["optim_conf.lr=1e-4"]) == {"optim_conf": {"lr": 1e-4}}
    (tmp_path / "train.yaml").write_text("a: 1e-4\nb: '1e-4'\nc: [-2E+3, e5, 1e]\n")
    wanted = {"a": 1e-4, "b": "1e-4", "c": [-2000.0, "e5", "1e"]}
    assert read_training_config(tmp_path / "train.yaml") == wanted


def test_the_rank_of_a_process_is_what_its_launcher_says(monkeypatch):
    for name in ("RANK", "SLURM_PROCID", "SLURM_NTASKS"):
        monkeypatch.delenv(name, raising=False)
    assert process_rank({}) == 0
    assert process_rank({"dist_rank": "3", "dist_world_size": "4"}) == 3
    monkeypatch.setenv("RANK", "1")
    assert process_rank({}) == 1
    step = {"PROCID": "1", "NTASKS": "2", "STEP_NUM_NODES": "2", "STEP_NODELIST": "n[1-2]"}
    for key, value in {**step, "NODEID": "1"}.items():
        monkeypatch.setenv(f"SLURM_{key}", value)
    assert process_rank({"dist_launcher": "slurm"}) == 1
    monkeypatch.setenv("SLURM_NTASKS", "4")  # two tasks a node, which ESPnet does not take
    with pytest.raises(RuntimeError, match="ntasks_per_node=1"):
        process_rank({"dist_launcher": "slurm"})


def test_another_part_does_not_get_the_conf_of_the_base_s(tmp_path):
    base = "scheduler: warmuplr\nscheduler_conf: {warmup_steps: 400}\nlist: [1, 2]\n"
    (tmp_path / "a.yaml").write_text(base + "optim: adam\noptim_conf: {lr: 1, eps: 2}\n")
    text = "base: a.yaml\nscheduler: tristagelr\nscheduler_conf: {max_steps: 3}\nlist: [3]\n"
    (tmp_path / "b.yaml").write_text(text)
    (tmp_path / "c.yaml").write_text("base: b.yaml\noptim_conf: {lr: null}\n")
    assert read_training_config(tmp_path / "c.yaml") == {
        "scheduler": "tristagelr",
        "scheduler_conf": {"max_steps": 3},
        "list": [3],
        "optim": "adam",
        "optim_conf": {"lr": None, "eps": 2},
    }
    (tmp_path / "d.yaml").write_text("base: a.yaml\noptim_conf:\n# lr: 1\nmodel_conf:\n")
    found = read_training_config(tmp_path / "d.yaml")
    assert found["optim_conf"] == {"lr": 1, "eps": 2} and "model_conf" not in found


def test_a_run_that_fails_says_why(tmp_path):
    about = {"name": "x", "seed": 1, "norm": "none", "max_epoch": 3}
    assert not record.is_finished(tmp_path, about)
    (tmp_path / "features").mkdir()
    with pytest.raises(FeatnormError, match="not finite"), record.recorded(tmp_path, about):
        assert not (tmp_path / "features").exists(), "they are of other weights from now on"
        fields = record.read_record(tmp_path)
        assert fields["result"] == {"status": "running"}
        assert {"host", "machine", "versions", "commit", "dirty", "started"} <= fields.keys()
        raise FeatnormError("the loss was not finite")
    fields = record.read_record(tmp_path)
    assert (fields["result"]["status"], fields["finished"]) == ("failed", None)
    assert fields["result"]["reason"] == "FeatnormError: the loss was not finite"
    assert not record.is_finished(tmp_path, about)
    other = {**about, "norm": "utterance"}
    assert not record.is_finished(tmp_path, other)  # it has trained nothing, so it claims nothing
    (tmp_path / record.CHECKPOINT).write_bytes(b"an epoch")
    with pytest.raises(FeatnormError, match="norm none, this run has utterance"):
        record.is_finished(tmp_path, other)
    ended = {**about, "finished": "today", "epochs": 3, "training_seconds": 9.0}
    for trained, kept in ((False, "today"), (True, None)):
        write_json(tmp_path / "run.json", ended)
        with pytest.raises(MemoryError), record.recorded(tmp_path, {**about, "max_epoch": 4}):
            if trained:
                (tmp_path / record.CHECKPOINT).write_bytes(b"one epoch more")
            raise MemoryError
        assert record.read_record(tmp_path)["finished"] == kept


def test_the_commit_is_this_packages_own_or_none(tmp_path, monkeypatch):
    installed = tmp_path / "venv" / "record.py"
    installed.parent.mkdir()
    who = "-c user.name=x -c user.email=x"
    for words in ("init -q", f"{who} commit -q --allow-empty -m x"):
        subprocess.run(["git", "-C", str(tmp_path), *words.split()], check=True)
    assert record.source_commit()[0]
    monkeypatch.setattr(record, "__file__", str(installed))
    assert record.source_commit() == (None, None)


def test_what_is_set_otherwise_is_named_with_both_values(tmp_path):
    config = {"optim_conf": {"lr": 0.1, "eps": 1}, "output_dir": "a", "max_epoch": 3, "seed": 0}
    about = {"seed": 0, "config": config}
    write_json(tmp_path / "run.json", {**about, "finished": "today", "max_epoch": 3})
    other = {**config, "optim_conf": {"lr": 0.2}, "output_dir": "b", "grad_clip": 5}
    with pytest.raises(FeatnormError) as error:
        record.is_finished(tmp_path, {**about, "config": other})
    told = str(error.value).removeprefix(f"{tmp_path}/run.json is of a run with ")
    assert told.startswith(
        "grad_clip unset, this run has 5; optim_conf.eps 1, this run has unset;"
        " optim_conf.lr 0.1, this run has 0.2: give it another --tag"
    )


def test_a_run_goes_on_with_its_data_in_the_environment_that_began_it(tmp_path, monkeypatch):
    about = {"seed": 1, "norm_site": "frontend", "data_sources": {"train": "a" * 64}}
    about["max_epoch"] = 3
    versions = {"torch": "2.13.0+cpu", "espnet": "202511", "espnet-s3prl": "1", "numpy": "2.3"}
    monkeypatch.setattr("featnorm_se.collection.metadata.version", lambda n: versions.get(n, "0"))
    with suppress(KeyboardInterrupt), record.recorded(tmp_path, about):
        raise KeyboardInterrupt
    versions["espnet"] = "202611"
    assert not record.is_finished(tmp_path, about), "nothing is trained yet"
    (tmp_path / "checkpoint.pth").touch()
    with pytest.raises(FeatnormError, match="with espnet 202511, this environment has espnet 2026"):
        record.is_finished(tmp_path, about)
    versions |= {"espnet": "202511", "torch": "2.13.0+cu130", "numpy": "2.4"}
    assert not record.is_finished(tmp_path, about), "another device, another numpy"
    with pytest.raises(FeatnormError, match="data of other recordings, this run has those that"):
        record.is_finished(tmp_path, {**about, "data_sources": {"train": "b" * 64}})
    tested = {**about, "data_sources": {**about["data_sources"], "test": "b" * 64}}
    assert not record.is_finished(tmp_path, tested), "other test pairs are no other training"
    with pytest.raises(FeatnormError, match="norm_site frontend, this run has none: give"):
        record.is_finished(tmp_path, {**about, "norm_site": ""})
    made_of = [{"statistics": {"clean": {"file": "c.npz", "corpus": hash}}} for hash in "ab"]
    write_json(tmp_path / "run.json", about | made_of[0])
    assert not record.is_finished(tmp_path, about | made_of[0])
    with pytest.raises(FeatnormError, match="clean statistics of other speech, this run has c.npz"):
        record.is_finished(tmp_path, about | made_of[1])
    begun = {**about, "init": {"model": "m"}, "upstream_identity": "sha256:1"}
    write_json(tmp_path / "run.json", begun)
    with pytest.raises(FeatnormError, match="with --init as it was then, this run has other weig"):
        record.is_finished(tmp_path, begun | {"upstream_identity": "sha256:2"})


def test_a_run_may_move_but_not_change(tmp_path, capsys):
    config = {"optim_conf": {"lr": 0.1}, "output_dir": "exp/a", "ngpu": 0}
    moved = {**config, "output_dir": "/data/exp/a", "ngpu": 2, "clean_stats": "/x.npz"}
    write_json(tmp_path / "run.json", {"config": config, "finished": "today", "max_epoch": 3})
    assert record.is_finished(tmp_path, {"config": moved, "max_epoch": 3})
    with pytest.raises(FeatnormError, match=r"no checkpoint.pth to go on from: take another"):
        record.is_finished(tmp_path, {"config": moved, "max_epoch": 9})  # else it begins anew
    write_json(tmp_path / "run.json", {"config": config, "finished": None, "max_epoch": 9})
    (tmp_path / "2epoch.pth").touch()  # a new training would write over them
    with pytest.raises(FeatnormError, match=r"no checkpoint.pth to go on from: take another"):
        record.is_finished(tmp_path, {"config": moved, "max_epoch": 9})
    (tmp_path / record.CHECKPOINT).touch()
    assert not record.is_finished(tmp_path, {"config": moved, "max_epoch": 9})
    assert capsys.readouterr().err == ""
    assert not record.is_finished(tmp_path, {"config": moved, "max_epoch": 1})
    assert "has 2 epochs already, more than max_epoch 1" in capsys.readouterr().err


def test_what_a_base_leaves_unsaid_is_not_replaced():
    base = {"separator_conf": {"freeze": "all"}, "scheduler": "a", "scheduler_conf": {"x": 1}}
    over = ["separator=featnorm", "scheduler=b"]
    wanted = {"separator_conf": {"freeze": "all"}, "separator": "featnorm", "scheduler": "b"}
    assert override_config(base, over) == wanted


def test_si_snr_is_shown_once_where_it_chooses():
    config = {"criterions": [{"name": "l1"}], "best_model_criterion": [["valid", "si_snr", "max"]]}
    add_figures(config, 1)
    add_figures(config, 1)  # as of --init, whose model has it
    assert [one["name"] for one in config["criterions"]] == ["l1", "valid_si_snr"]


def test_figures_of_two_talkers_are_those_of_the_order_that_the_loss_finds():
    asked = [["valid", "si_snr", "max"], ["valid", "pesq_wb", "max"]]
    loss = {"name": "l1_td", "conf": {}, "wrapper": "pit", "wrapper_conf": {}}
    config = {"criterions": [loss], "best_model_criterion": asked}
    add_figures(config, 2)
    register()
    from espnet2.enh.loss.wrappers.pit_solver import PITSolver

    torch.manual_seed(0)
    clean = [torch.randn(1, 16000), torch.randn(1, 16000)]
    found = [x + 0.1 * torch.randn_like(x) for x in clean[::-1]]  # the second talker first
    stats, others = {}, {}
    for one in config["criterions"]:
        criterion = criterion_choices.get_class(one["name"])(**one["conf"])
        _, figure, others = PITSolver(criterion, **one["wrapper_conf"])(clean, found, others)
        stats |= figure
    assert stats["si_snr"] == pytest.approx(20, abs=0.5)
    pairs = ((x[0].numpy(), y[0].numpy()) for x, y in zip(clean, found[::-1], strict=True))
    assert stats["pesq_wb"] == pytest.approx(np.mean([pesq(16000, *pair, "wb") for pair in pairs]))


def test_more_patience_goes_on_after_an_early_end(tmp_path):
    ended = {"config": {"patience": 2}, "finished": "today", "max_epoch": 9}
    (tmp_path / record.CHECKPOINT).touch()
    for epochs, patience, done in (
        (5, 2, True),
        (5, 4, False),
        (5, None, False),
        (5, "none", False),
        (9, 4, True),
    ):
        write_json(tmp_path / "run.json", {**ended, "epochs": epochs})
        now = {"config": {"patience": patience}, "max_epoch": 9}
        assert record.is_finished(tmp_path, now) is done, (epochs, patience)
        longer = {**now, "max_epoch": 12}
        assert record.is_finished(tmp_path, longer) is (done and epochs < 9), (epochs, patience)


def test_stage_4_alone_is_of_what_is_named(tmp_path, capsys):
    import check_trained

    (tmp_path / "a.pt").write_bytes(b"weights")
    made = {
        "upstream_ckpt": "a.pt",
        "upstream_identity": f"sha256:{sha256_file(tmp_path / 'a.pt')}",
    }
    made |= {"norm": "utterance", "norm_site": "projection,layer.1", "seed": 0, "finished": None}
    made["config"] = {"separator_conf": {"units": 4}, "max_epoch": 3, "seed": 0}
    write_json(tmp_path / "run.json", made)

    def check(*options):
        return run(check_trained.main, ["--expdir", str(tmp_path), *options])

    right = ["--seed", "0", "--norm", "utterance", "--norm_site", "layer.1,projection"]
    assert check(*right, "--set", "max_epoch=9", "--upstream_ckpt", str(tmp_path / "a.pt")) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert "has not ended its training" in line
    for wrong in (["--seed", "1"], ["--norm", "none"], ["--norm_site", "layer.2"]):
        assert check(*wrong) == 1, wrong
        assert "was trained with" in capsys.readouterr().err
    (tmp_path / "a.pt").write_bytes(b"others")
    for idle in (
        ["--upstream_ckpt", "scratch"],
        ["--upstream_ckpt", str(tmp_path / "a.pt")],
        ["--set", "separator_conf.units=8"],
        ["--set", "accum_grad=2"],
    ):
        assert check(*idle) == 0, idle
        assert "does not count in stage 4" in capsys.readouterr().err
    write_json(tmp_path / "run.json", {"norm": "none", "norm_site": "", "seed": 0})
    assert check("--norm", "none", "--norm_site", "frontend") == 0
