"""Checkpoints: the official layouts load; all else is refused, and no code is run."""

import argparse
import functools
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from bad_inputs_world import Payload
from signals import FAMILIES, batch, noise

from featnorm_se.errors import FeatnormError
from featnorm_se.upstream import load_upstream, upstream_card
from featnorm_se.upstream.checkpoint import parse_conv_layers


def load(family: str, path: Path):
    return load_upstream(f"{family}_tiny", path)


@pytest.fixture
def states(make_checkpoint):
    """``states("wavlm")``: what a tiny checkpoint of the family holds, to be changed."""

    def read(family: str, **changes):
        return torch.load(make_checkpoint(family, **changes), weights_only=False)

    return read


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_live_payload_is_refused(states, tmp_path, family, legacy):
    mark, path = tmp_path / "ran", tmp_path / "hostile.pt"
    held = states(family)
    held["Args"] = Payload(mark)
    torch.save(held, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(FeatnormError, match="execute code"):
        load(family, path)
    assert not mark.exists()
    torch.load(path, weights_only=False)  # the naive way: the payload is alive
    assert mark.exists()


class ObjectScalar:
    """A NumPy scalar of objects: NumPy would unpickle its bytes."""

    def __init__(self, payload: bytes) -> None:
        self.payload = payload

    def __reduce__(self):
        return np._core.multiarray.scalar, (np.dtype("O"), self.payload)


def test_other_objects_are_refused(states, tmp_path):
    mark, path = tmp_path / "ran", tmp_path / "hostile.pt"
    hostile = ObjectScalar(pickle.dumps(Payload(mark)))
    plain = (functools.partial(print, "x"), torch.nn.Linear(2, 2), np.dtype("O").type)
    for value in (hostile, *plain):
        torch.save({**states("tera"), "Args": value}, path)
        with pytest.raises(FeatnormError, match="execute code|cannot be read"):
            load("tera", path)
    assert not mark.exists()


@pytest.mark.parametrize("family", ["wavlm", "hubert", "wav2vec2"])
def test_code_in_the_configuration_does_not_run(states, tmp_path, family):
    """s3prl evaluates conv_feature_layers as Python."""
    mark, path = tmp_path / "ran", tmp_path / "hostile.pt"
    held = states(family)
    code = f"[(16,10,5)] if __import__('os').system('touch {mark}') else []"
    held["cfg" if family == "wavlm" else "model_cfg"]["conv_feature_layers"] = code
    torch.save(held, path)
    with pytest.raises(FeatnormError, match="conv_feature_layers"):
        load(family, path)
    assert not mark.exists()


def test_only_lists_of_layers_as_in_the_official_files():
    for code in ("", "[]", "open('x')", "[(0,1,1)]", "[(16,10,5)] * 10**9", "[(16,10,5)][0]"):
        with pytest.raises(FeatnormError):
            parse_conv_layers(code)
    layers = [(512, 10, 5), *[(512, 3, 2)] * 4, *[(512, 2, 2)] * 2]
    official = "[(512,10,5)] + [(512,3,2)] * 4 + [(512,2,2)] + [(512,2,2)]"
    assert parse_conv_layers(official) == parse_conv_layers(repr(layers)) == layers


def test_what_official_mel_files_hold_beside_weights(states, tmp_path):
    """Arguments of the run, NumPy numbers, paths, a schedule: read, and nothing of it used."""
    from s3prl.optimizers import WarmupLinearSchedule

    held = states("tera")
    held["Args"] = argparse.Namespace(expdir=Path("result"), lr=np.float64(2e-4), n=np.int64(3))
    held["Optimizer"] = {"param_groups": [{"schedule": WarmupLinearSchedule(0.07, 1000)}]}
    for legacy in (False, True):
        path = tmp_path / f"states-{legacy}.ckpt"
        torch.save(held, path, _use_new_zipfile_serialization=not legacy)
        assert load("tera", path).num_layers == 3


def test_the_older_layout_of_mel_files(states, tmp_path):
    """``Config`` holds the architecture; layer norms are called gamma and beta."""
    held = states("mockingjay")
    held["Config"] = held.pop("Upstream_Config")
    held["Transformer"] = {
        k.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): v
        for k, v in held["Transformer"].items()
    }
    torch.save(held, tmp_path / "old.ckpt")
    assert load("mockingjay", tmp_path / "old.ckpt").num_layers == 3


WEIGHTS = {"wavlm": "model", "hubert": "model_weight", "tera": "Transformer"}


@pytest.mark.parametrize("family", WEIGHTS)
def test_weights_that_do_not_fit_are_listed(states, tmp_path, family):
    held = states(family)
    weights = held[WEIGHTS[family]]
    names = [
        name for name in weights if name.split(".")[0] not in ("mask_emb", "label_embs_concat")
    ]
    del weights[names[0]]
    weights["stranger.weight"] = torch.zeros(3)
    weights[names[1]] = torch.zeros(2, 2)
    weights[names[2]] = "text"
    weights[names[3]] = weights[names[3]] * float("nan")
    torch.save(held, tmp_path / "odd.pt")
    found = "1 missing.* 1 left over.* 1 misshapen.* 1 no plain floats.* 1 not finite"
    with pytest.raises(FeatnormError, match=found):
        load(family, tmp_path / "odd.pt")


@pytest.mark.parametrize(
    ("family", "other"), [("hubert", "wav2vec2"), ("wav2vec2", "hubert"), ("tera", "wavlm")]
)
def test_a_checkpoint_of_another_family(make_checkpoint, family, other):
    with pytest.raises(FeatnormError, match=f"is not one of {family}"):
        load(family, make_checkpoint(other))


@pytest.mark.parametrize(
    ("family", "part", "changes", "message"),
    [
        ("wav2vec2", "model_cfg", {"layer_type": "conformer"}, "conformer"),
        ("hubert", "model_cfg", {"activation_fn": "swish"}, "swish"),
        # s3prl evaluates the name of Kaldi's features as Python, too.
        ("tera", "audio", {"input": {"feat_type": "kaldi"}}, "kaldi"),
        ("tera", "audio", {"kaldi": {"feat_type": "os.getcwd"}}, "kaldi"),
    ],
)
def test_options_that_the_walk_does_not_follow(family, part, changes, message):
    architecture = upstream_card(f"{family}_tiny")["architecture"]
    architecture[part].update(changes)
    with pytest.raises(FeatnormError, match=message):
        load_upstream(f"{family}_tiny", config=architecture)


# ---- files as they come ----


def features(upstream):
    return upstream(*batch(noise(8000)))[0]


@pytest.mark.parametrize("family", ["wavlm", "hubert", "wav2vec2"])
def test_torchs_newer_names_of_weight_norm(states, tmp_path, make_checkpoint, family):
    held = states(family)
    part = held["model" if family == "wavlm" else "model_weight"]
    for old, new in (("weight_g", "original0"), ("weight_v", "original1")):
        name = f"encoder.pos_conv.0.{old}"
        part[name.replace(old, f"parametrizations.weight.{new}")] = part.pop(name)
    torch.save(held, tmp_path / "new.pt")
    assert torch.equal(
        features(load(family, tmp_path / "new.pt")), features(load(family, make_checkpoint(family)))
    )


HEADS = ("mask_emb", "quantizer", "project_q", "final_proj", "label_embs_concat")


@pytest.mark.parametrize("heads", [True, False])
@pytest.mark.parametrize("layout", ["s3prl", "cfg", "args"])
@pytest.mark.parametrize("family", ["hubert", "wav2vec2"])
def test_fairseqs_own_layouts_and_heads_of_pre_training_that_are_missing(
    states, tmp_path, make_checkpoint, family, layout, heads
):
    held = states(family)
    task, model, weights = held["task_cfg"], held["model_cfg"], held["model_weight"]
    weights = {k: v for k, v in weights.items() if heads or not k.startswith(HEADS)}
    layouts = {
        "s3prl": {**held, "model_weight": weights},
        "cfg": {"cfg": {"task": task, "model": model, "common": {"seed": 1}}, "model": weights},
        "args": {"cfg": None, "args": argparse.Namespace(arch="x", **{**task, **model})},
    }
    layouts["args"]["model"] = weights
    torch.save({**layouts[layout], "optimizer_history": []}, tmp_path / "other.pt")
    assert torch.equal(
        features(load(family, tmp_path / "other.pt")),
        features(load(family, make_checkpoint(family))),
    )


def test_what_fairseq_fine_tuned_on_a_task_is_told_as_that(tmp_path):
    weights = {"w2v_encoder.w2v_model.mask_emb": torch.ones(2)}
    torch.save({"args": argparse.Namespace(), "model": weights}, tmp_path / "asr.pt")
    with pytest.raises(FeatnormError, match="not one of wav2vec2: fairseq has fine-tuned it on a"):
        load("wav2vec2", tmp_path / "asr.pt")


def test_weights_alone_are_of_the_cards_size(states, tmp_path):
    torch.save(states("wavlm", encoder_layers=2)["model"], tmp_path / "alone.pt")
    with pytest.raises(FeatnormError, match="weights alone, of 2 layers; wavlm_tiny has 3"):
        load("wavlm", tmp_path / "alone.pt")
    torch.save(states("wavlm")["model"], tmp_path / "alone.pt")
    assert load("wavlm", tmp_path / "alone.pt").num_layers == 3
