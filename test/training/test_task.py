"""The task in ESPnet: registration, start, two learning rates, stock inference."""

import argparse

import numpy as np
import pytest
import torch
from tiny_models import save_tiny, tiny_config, training_config

from featnorm_se import Enhancer, load_upstream
from featnorm_se.errors import FeatnormError
from featnorm_se.training.task import FeatNormTask, build_parts, parse_options, register


@pytest.fixture(scope="module")
def task():
    register()
    return FeatNormTask


def arguments(folder, **more) -> argparse.Namespace:
    config = tiny_config("tera_tiny", "none") | {"output_dir": str(folder), "resume": True}
    config |= {"seed": 4, "upstream_ckpt": "scratch", "upstream_lr_scale": 0.1}
    config |= {"optim": "adam", "optim_conf": {"lr": 0.002}}
    unset = ("upstream_conf_dir", "clean_stats", "noisy_stats", "init_model", "loss_wrapper")
    config |= dict.fromkeys(unset)
    return argparse.Namespace(**{**config, "ngpu": 0, **more})


def test_training_starts_from_the_upstream_and_survives_init(task, tmp_path):
    for init in (None, "xavier_uniform", "normal"):
        model = task.build_model(arguments(tmp_path, init=init))
        wanted = load_upstream("tera_tiny", "scratch", seed=4).state_dict()
        for key, value in wanted.items():
            assert torch.equal(model.separator.upstream.state_dict()[key], value), (init, key)


@pytest.mark.parametrize(
    ("conf", "wanted"),
    [({}, "auto"), ({"precision": "tf32"}, "tf32")]
    + [({"bf16": True}, "bf16"), ({"bf16": False}, "float32")],
)
def test_one_precision_whatever_a_configuration_calls_it(task, tmp_path, conf, wanted):
    conf = tiny_config("tera_tiny", "none", **conf)["separator_conf"]
    args = arguments(tmp_path, separator_conf=conf)
    assert task.build_model(args).separator.precision == wanted


def test_a_resumed_run_does_not_need_what_it_started_from(task, tmp_path):
    args = arguments(tmp_path, upstream_ckpt=str(tmp_path / "gone.pt"))
    with pytest.raises(FeatnormError):
        task.build_model(args)
    (tmp_path / "checkpoint.pth").touch()
    task.build_model(args)


@pytest.mark.parametrize("freeze", ["none", "all"])
def test_two_learning_rates(task, tmp_path, freeze):
    conf = tiny_config("tera_tiny", "none", freeze=freeze)["separator_conf"]
    args = arguments(tmp_path, separator_conf=conf)
    model = task.build_model(args)
    (optimizer,) = task.build_optimizers(args, model)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    for name, parameter in model.named_parameters():
        slow = name.startswith("separator.upstream.")
        wanted = (0.0002 if slow else 0.002) if parameter.requires_grad else None
        assert rates.get(id(parameter)) == (wanted and pytest.approx(wanted)), name
    assert len(optimizer.param_groups) == (2 if freeze == "none" else 1)


ONE_RATE = {
    "cycliclr": {"base_lr": 1e-5, "max_lr": 1.0, "cycle_momentum": False},
    "onecyclelr": {"max_lr": 1.0, "total_steps": 9},
    "piecewiselinearwarmuplr": {"warmup_steps_list": [0, 9], "warmup_lr_list": [0.0, 1.0]},
    "exponentialdecaywarmup": {"max_lr": 1, "min_lr": 0.1, "total_steps": 9, "warmup_steps": 3},
    "cosineannealingwarmuprestarts": {"first_cycle_steps": 9, "max_lr": 1.0, "min_lr": 0.1},
}
FROM_0 = {
    "exponentialdecaywarmup": ONE_RATE["exponentialdecaywarmup"] | {"warm_from_zero": True},
    "cosineannealingwarmuprestarts": {"first_cycle_steps": 9, "min_lr": 0.0, "warmup_steps": 2},
    "piecewiselinearwarmuplr": {"warmup_steps_list": [0, 9, 99], "warmup_lr_list": [0.0, 0.0, 1]},
}
REFUSED = [
    ({"scheduler": name, "scheduler_conf": conf}, f"{name} sets one rate .* upstream_lr_scale")
    for name, conf in (*ONE_RATE.items(), *FROM_0.items())
]
REFUSED += [({"optim": "adamw", "optim_conf": {}}, "adamw has no rate: optim_conf.lr is None")]


@pytest.mark.parametrize(("changes", "told"), REFUSED)
def test_what_would_not_be_heeded_is_refused(task, tmp_path, changes, told):
    config = training_config(upstream="tera_tiny", norm="none") | changes
    config |= {"output_dir": str(tmp_path), "resume": True}
    upstream = load_upstream("tera_tiny", "scratch")
    with pytest.raises(FeatnormError, match=told) as error:
        build_parts(parse_options(config, "x.yaml"), "x.yaml", upstream, None)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("part", ["encoder_conf", "separator_conf", "decoder_conf"])
def test_one_stft_is_held(task, tmp_path, part):
    config = tiny_config("tera_tiny", "none")
    config[part] = {**config[part], "hop_length": 128}
    with pytest.raises(FeatnormError, match=r"hop_length is (128, not 160|160, not 128)"):
        task.build_model(arguments(tmp_path, **config))
    config[part]["hop_length"] = 160
    if part != "separator_conf":
        for key, value in (("window", "hamming"), ("normalized", True), ("center", False)):
            conf = {**config[part], "default_fs": 16000, key: value}
            with pytest.raises(FeatnormError, match=rf"{part}\.{key} is {value!r}, not "):
                task.build_model(arguments(tmp_path, **config | {part: conf}))


def test_missing_statistics_are_named(task, tmp_path):
    config = tiny_config("tera_tiny", "corpus")
    with pytest.raises(FeatnormError, match="needs clean statistics: run stage 2"):
        task.build_model(arguments(tmp_path, **config))


def test_stock_espnet_gives_what_enhancer_gives(task, tmp_path):
    from espnet2.bin.enh_inference import SeparateSpeech

    folder = save_tiny(tmp_path / "exp")
    stock = SeparateSpeech(
        train_config=str(folder / "config.yaml"), model_file=str(folder / "valid.loss.best.pth")
    )
    x = np.random.default_rng(0).normal(size=9001).astype(np.float32) * 0.1
    x -= x.mean()
    (theirs,) = stock(x[None], fs=16000)
    np.testing.assert_allclose(Enhancer.from_pretrained(folder)(x), theirs[0], atol=1e-6)
