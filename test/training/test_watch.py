"""Training that goes wrong says so: ESPnet's own epoch, run on batches that are bad."""

from __future__ import annotations

import argparse
import dataclasses
import logging
from types import SimpleNamespace
from typing import get_type_hints

import pytest
import torch

from featnorm_se.errors import FeatnormError
from featnorm_se.training.watch import train_epoch, validate_epoch


@pytest.fixture(scope="module")
def espnet():
    from espnet2.train.abs_espnet_model import AbsESPnetModel
    from espnet2.train.distributed_utils import DistributedOption
    from espnet2.train.reporter import SubReporter
    from espnet2.train.trainer import Trainer, TrainerOptions

    class Line(AbsESPnetModel):
        """Loss: the mean distance of a line from zero."""

        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(1))
            self.fails: Exception | None = None

        def forward(self, x, **_):
            if self.fails is not None:
                raise self.fails
            loss = (self.weight * x).square().mean()
            return loss, {"loss": loss.detach()}, torch.tensor(float(len(x)))

        def collect_feats(self, **_):
            return {}

    defaults = {field.name: None for field in dataclasses.fields(TrainerOptions)}
    defaults |= {key: False for key, kind in get_type_hints(TrainerOptions).items() if kind is bool}
    defaults |= {"ngpu": 0, "max_epoch": 1, "seed": 0, "log_interval": 100, "keep_nbest_models": 1}
    defaults |= {"grad_clip": 5.0, "grad_clip_type": 2.0, "train_dtype": "float32"}
    defaults |= {"adapter": "", "save_strategy": "all", "wandb_model_log_interval": -1}
    for key in ("early_stopping", "best_model", "val_scheduler"):
        defaults[f"{key}_criterion"] = []
    defaults["nbest_averaging_interval"] = 0
    return SimpleNamespace(
        Trainer=Trainer,
        Reporter=SubReporter,
        Line=Line,
        one=DistributedOption(),
        defaults=defaults,
    )


def batches(*values, samples=16):
    """Return a batch of two signals for every value."""
    return [
        ([f"{k}a", f"{k}b"], {"x": torch.full((2, samples), float(v))})
        for k, v in enumerate(values)
    ]


def run(espnet, folder, data, epoch="train", limit=3, lr=0.01, model=None, accum_grad=1):
    model = model or espnet.Line()
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    options = espnet.Trainer.build_options(
        argparse.Namespace(**{**espnet.defaults, "output_dir": folder, "accum_grad": accum_grad})
    )
    parts = {
        "model": model, "iterator": data, "reporter": espnet.Reporter(epoch, 1, 0),
        "options": options, "distributed_option": espnet.one,
    }  # fmt: skip
    if epoch == "valid":
        return validate_epoch(espnet.Trainer.validate_one_epoch, **parts)
    return train_epoch(
        espnet.Trainer.train_one_epoch, limit, optimizers=[optimizer],
        schedulers=[None], scaler=None, summary_writer=None, **parts,
    )  # fmt: skip


def test_a_good_epoch_is_left_alone(espnet, tmp_path):
    assert run(espnet, tmp_path, batches(1, 2, 3)) is False
    run(espnet, tmp_path, batches(1, 2), epoch="valid")
    assert list(tmp_path.iterdir()) == []


def test_bad_steps_on_end_stop_with_the_utterances_and_the_batch(espnet, tmp_path):
    data = batches(1, 1, 1, 1, 1)
    for _, batch in data[2:]:
        batch["x"][1, 3] = float("nan")
    with pytest.raises(FeatnormError, match=r"loss was not finite in 3 steps.*4b hold NaN") as told:
        run(espnet, tmp_path, data)
    assert "epoch 1, step 5 (4a, 4b)" in str(told.value)
    kept = torch.load(tmp_path / "bad_batch.pt", weights_only=True)
    assert kept["utt_id"] == ["4a", "4b"]
    assert torch.isnan(kept["x"][1, 3])


def test_single_bad_steps_are_passed_over(espnet, tmp_path):
    nan = float("nan")
    assert run(espnet, tmp_path, batches(1, nan, nan, 1, nan, nan, 1)) is False


def test_an_endless_gradient_of_a_finite_loss_is_named(espnet, tmp_path):
    model = espnet.Line()
    model.weight.register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(FeatnormError, match=r"gradient was not finite.*lower optim_conf.lr"):
        run(espnet, tmp_path, batches(1, 1, 1, 1), model=model)


def test_bad_gradients_are_counted_at_updates(espnet, tmp_path):
    assert run(espnet, tmp_path, batches(*[1] * 8), accum_grad=4) is False
    with pytest.raises(FeatnormError, match="no step of epoch 1"):
        run(espnet, tmp_path, batches(float("nan"), 1), limit=9, accum_grad=2)


@pytest.mark.parametrize("epoch", ["train", "valid"])
def test_an_empty_set_or_batch_is_named(espnet, tmp_path, epoch):
    with pytest.raises(FeatnormError, match=r"set gives no batch.*chunk_length"):
        run(espnet, tmp_path, [], epoch=epoch)
    with pytest.raises(FeatnormError, match=r"empty batch in epoch 1, step 1 \(0a, 0b\): x has no"):
        run(espnet, tmp_path, batches(1, samples=0), epoch=epoch)


def test_weights_that_do_not_move_are_named(espnet, tmp_path):
    with pytest.raises(FeatnormError, match=r"no weight moved in epoch 1.*optim_conf\.lr"):
        run(espnet, tmp_path, batches(1, 2), lr=0.0)


def test_a_loss_that_does_not_move_is_told(espnet, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        run(espnet, tmp_path, batches(*[1.0] * 200), lr=1e-7)
        assert "did not move in the first epoch" in caplog.text
        caplog.clear()
        run(espnet, tmp_path, batches(*[1.0] * 200), lr=1e-2)
        assert caplog.text == ""


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
)
def test_out_of_memory_names_the_batch_and_the_option(espnet, tmp_path, error):
    model = espnet.Line()
    model.fails = error
    with pytest.raises(FeatnormError, match=r"0a, 0b\): 2 signals of 2.00 s.*--set batch_size=N"):
        run(espnet, tmp_path, batches(1, samples=32000), model=model)
    with pytest.raises(FeatnormError, match="valid_batch_size=1"):
        run(espnet, tmp_path, batches(1), model=model, epoch="valid")


def test_other_errors_stay_what_they_are(espnet, tmp_path):
    model = espnet.Line()
    model.fails = RuntimeError("size mismatch")
    with pytest.raises(RuntimeError, match="size mismatch"):
        run(espnet, tmp_path, batches(1), model=model)
