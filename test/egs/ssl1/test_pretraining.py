"""Masked reconstruction: it learns, goes on bit by bit; its checkpoint is an official one."""

import copy
import importlib
import json
import random
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from pretrain import main
from pretraining.model import MaskedReconstruction, fuse, seeded
from pretraining.plan import OBJECTIVE, Plan
from pretraining.trainer import CURVE, Trainer

from featnorm_se.bin import run
from featnorm_se.data.audio import write_audio
from featnorm_se.errors import FeatnormError
from featnorm_se.report.experiments import read_scores
from featnorm_se.upstream import load_upstream, upstream_card
from featnorm_se.upstream.mockingjay import sinusoids

# s3prl's for TERA
TERA = dict(zip(OBJECTIVE, ("L1", 0.15, 7, 7, True, 1.2, 0.2, 0.15), strict=True))
PLAN = Plan(TERA, crop_seconds=(0.6, 0.8), batch_seconds=2.4, steps=6, interval=2, lr=2e-3)


def config(cmvn: bool) -> dict:
    architecture = copy.deepcopy(upstream_card("tera_tiny")["architecture"])
    architecture["audio"]["input"]["cmvn"] = cmvn
    return architecture


def features(count: int, width: int) -> list[torch.Tensor]:
    """Rows that swing together, so that what is masked can be told from what is not."""
    with seeded(count):
        rows = []
        for _ in range(count):
            time = torch.arange(90.0)[:, None] * (0.05 + 0.1 * torch.rand(1))
            rows.append(4 * torch.sin(time + torch.linspace(0, 3, width)) - 6)
        return rows


def make(folder: Path, plan: Plan = PLAN, cmvn: bool = False, **settings: object) -> Trainer:
    upstream = load_upstream("tera_tiny", config=config(cmvn))
    upstream.set_dropout(plan.dropout)
    width = upstream.mel.width
    train, valid = features(12, width), features(3, width)
    mean, deviation = torch.cat(train).mean(0), torch.cat(train).std(0)
    with seeded(5):
        model = MaskedReconstruction(upstream, plan.objective, mean, deviation)
    return Trainer(folder, model, upstream, plan, train, valid, settings, seed=0)


def test_it_learns_on_speakers_it_has_not_heard(tmp_path: Path) -> None:
    plan = {"crop_seconds": (0.6,), "batch_seconds": 4.8, "lr": 1e-2}
    trainer = make(tmp_path, Plan(TERA, steps=60, interval=60, **plan))
    trainer.run()
    assert trainer.rows[-1]["valid"] < 0.8 * trainer.rows[0]["valid"]


@pytest.mark.parametrize("cut", [1, 4, 5])
def test_a_cut_run_ends_with_the_same_bits(tmp_path: Path, monkeypatch, cut: int) -> None:
    whole = make(tmp_path / "whole").run()
    step = Trainer._one_step

    def killed(self: Trainer) -> float:
        if self.step == cut:
            raise KeyboardInterrupt
        return step(self)

    monkeypatch.setattr(Trainer, "_one_step", killed)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "cut").run()
    assert not (tmp_path / "cut" / whole.name).exists()
    monkeypatch.undo()
    torch.rand(7)  # what else has been drawn must not matter
    random.random()
    resumed = make(tmp_path / "cut")
    assert resumed.step == cut // 2 * 2
    first, second = (torch.load(p, weights_only=True) for p in (whole, resumed.run()))
    for part in ("Transformer", "SpecHead"):
        for name, value in first[part].items():
            assert torch.equal(value, second[part][name]), name
    curves = [(tmp_path / name / CURVE).read_text().splitlines() for name in ("whole", "cut")]
    without_seconds = [[line.rsplit(",", 1)[0] for line in curve] for curve in curves]
    assert without_seconds[0] == without_seconds[1] and len(curves[0]) == 5


def test_a_state_of_another_environment_is_refused(tmp_path, monkeypatch):
    make(tmp_path).run()
    with monkeypatch.context() as other:
        other.setattr("featnorm_se.collection.metadata.version", lambda name: "1.0")
        with pytest.raises(FeatnormError, match="this environment has torch 1.0"):
            make(tmp_path)


def test_what_is_masked_follows_the_objective() -> None:
    upstream = load_upstream("tera_tiny", config=config(True))
    width = upstream.mel.width
    frames_only = TERA | {"mask_frequency": 0.0, "noise_proportion": 0.0}
    model = MaskedReconstruction(upstream, frames_only, torch.zeros(width), torch.ones(width))
    rows = [torch.randn(100, width), torch.randn(60, width)]
    with seeded(1):
        masked, _, chosen, valid, target = model.mask(rows)
    assert valid.sum(1).tolist() == [100, 60]
    assert torch.equal(target[0], rows[0]) and torch.equal(target[1, :60], rows[1])
    # Whole frames, nothing in the padding, about the proportion that was asked for.
    assert (chosen.all(-1) == chosen.any(-1)).all() and not chosen[1, 60:].any()
    assert 0.05 < chosen[0].float().mean() < 0.16
    assert torch.equal(masked[~chosen], target[~chosen])


def test_bfloat16_that_the_processor_has_not_is_float32(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("featnorm_se.upstream.precision.has_bf16", lambda device: False)
    weights = [
        torch.load(make(tmp_path / str(bf16), replace(PLAN, bf16=bf16)).run())["Transformer"]
        for bf16 in (False, True)
    ]
    for name, weight in weights[0].items():
        assert torch.equal(weight, weights[1][name])


def test_fused_layers_are_the_same_functions() -> None:
    upstream = load_upstream("tera_tiny", "scratch")
    twin = copy.deepcopy(upstream.model)
    fuse(twin)
    x, positions = torch.randn(2, 30, upstream.mel.width), torch.randn(2, 30, upstream.width)
    words = (x, positions, torch.ones(2, 30))
    wanted = upstream.model(*words, output_all_encoded_layers=False)
    assert torch.allclose(twin(*words, output_all_encoded_layers=False), wanted, atol=1e-6)
    assert list(upstream.model.state_dict()) == list(twin.state_dict())


def test_folded_weights_take_the_features_as_they_are(tmp_path: Path) -> None:
    trainer = make(tmp_path)
    path = trainer.run()
    model = trainer.model.eval()
    raw = trainer.valid_set[0]
    with torch.no_grad():
        positions = sinusoids(len(raw), model.width)[None]
        ones = torch.ones(1, len(raw))
        normal = ((raw - model.mean) / model.deviation).float()[None]
        states = model.transformer(normal, positions, ones, output_all_encoded_layers=False)
        wanted = model.head(states)[0].double() * model.deviation + model.mean
        written = torch.load(path, weights_only=True)
        model.transformer.load_state_dict(written["Transformer"])
        model.head.load_state_dict(written["SpecHead"])
        folded = model.transformer(raw[None], positions, ones, output_all_encoded_layers=False)
        found = model.head(folded)[0]
    assert model.deviation.mean() > 1.5  # there was something to fold
    assert torch.allclose(folded, states, atol=1e-4)
    assert torch.allclose(found.double(), wanted, atol=1e-3)


@pytest.mark.parametrize("cmvn", [True, False])
def test_the_checkpoint_is_an_official_one(tmp_path: Path, monkeypatch, cmvn: bool) -> None:
    path = make(tmp_path, cmvn=cmvn, upstream="tera_tiny").run()
    upstream = load_upstream("tera_tiny", path)
    assert upstream.lowest_site == ("projection" if cmvn else "frontend")
    builder = importlib.import_module("s3prl.upstream.mockingjay.builder")
    monkeypatch.setattr(builder, "get_sinusoid_table", lambda width: sinusoids(3000, width))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expert = importlib.import_module("s3prl.upstream.tera.expert").UpstreamExpert(str(path))
    wave = 0.1 * torch.randn(12000)
    with torch.no_grad():
        theirs = expert.eval()([wave])["hidden_states"][-1]
        ours, _ = upstream(wave[None], torch.tensor([12000]))
    assert torch.allclose(ours, theirs, atol=1e-5)


# ---- the command


@pytest.fixture
def options(tmp_path: Path) -> list[str]:
    rng = np.random.default_rng(0)
    for name in ("anna", "bert", "carl"):
        write_audio(tmp_path / "speech" / name / "a.flac", 0.1 * rng.standard_normal(32000))
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
    rows = read_scores(tmp_path / "exp" / "curve.csv", "step")
    assert [*rows] == ["0", "1", "2"] and all(0 < row["valid"] < 2 for row in rows.values())
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
