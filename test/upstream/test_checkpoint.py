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
def load_saved(tmp_path):
    """``load_saved("wavlm", held)``: write a checkpoint that holds this, and load it."""

    def save(family: str, held, **how):
        torch.save(held, tmp_path / "saved.pt", **how)
        return load(family, tmp_path / "saved.pt")

    return save


@pytest.fixture
def states(make_checkpoint):
    """``states("wavlm")``: what a tiny checkpoint of the family holds, to be changed."""

    def read(family: str, **changes):
        return torch.load(make_checkpoint(family, **changes), weights_only=False)

    return read


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_live_payload_is_refused(states, load_saved, tmp_path, family, legacy):
    mark, held = tmp_path / "ran", states(family)
    held["Args"] = Payload(mark)
    with pytest.raises(FeatnormError, match="execute code"):
        load_saved(family, held, _use_new_zipfile_serialization=not legacy)
    assert not mark.exists()
    torch.load(tmp_path / "saved.pt", weights_only=False)  # the naive way: the payload is alive
    assert mark.exists()


class ObjectScalar:
    """A NumPy scalar of objects: NumPy would unpickle its bytes."""

    def __init__(self, payload: bytes) -> None:
        self.payload = payload

    def __reduce__(self):
        return np._core.multiarray.scalar, (np.dtype("O"), self.payload)


def test_other_objects_are_refused(states, load_saved, tmp_path):
    mark = tmp_path / "ran"
    hostile = ObjectScalar(pickle.dumps(Payload(mark)))
    plain = (functools.partial(print, "x"), torch.nn.Linear(2, 2), np.dtype("O").type)
    for value in (hostile, *plain):
        with pytest.raises(FeatnormError, match="execute code|cannot be read"):
            load_saved("tera", {**states("tera"), "Args": value})
    assert not mark.exists()


@pytest.mark.parametrize("family", ["wavlm", "hubert", "wav2vec2"])
def test_code_in_the_configuration_does_not_run(states, load_saved, tmp_path, family):
    """s3prl evaluates conv_feature_layers as Python."""
    mark, held = tmp_path / "ran", states(family)
    code = f"[(16,10,5)] if __import__('os').system('touch {mark}') else []"
    held["cfg" if family == "wavlm" else "model_cfg"]["conv_feature_layers"] = code
    with pytest.raises(FeatnormError, match="conv_feature_layers"):
        load_saved(family, held)
    assert not mark.exists()


def test_only_lists_of_layers_as_in_the_official_files():
    for code in ("", "[]", "open('x')", "[(0,1,1)]", "[(16,10,5)] * 10**9", "[(16,10,5)][0]"):
        with pytest.raises(FeatnormError):
            parse_conv_layers(code)
    layers = [(512, 10, 5), *[(512, 3, 2)] * 4, *[(512, 2, 2)] * 2]
    official = "[(512,10,5)] + [(512,3,2)] * 4 + [(512,2,2)] + [(512,2,2)]"
    assert parse_conv_layers(official) == parse_conv_layers(repr(layers)) == layers


def test_what_official_mel_files_hold_beside_weights(states, load_saved):
    """Arguments of the run, NumPy numbers, paths, a schedule: read, and nothing of it used."""
    from s3prl.optimizers import WarmupLinearSchedule

    held = states("tera")
    held["Args"] = argparse.Namespace(expdir=Path("result"), lr=np.float64(2e-4), n=np.int64(3))
    held["Optimizer"] = {"param_groups": [{"schedule": WarmupLinearSchedule(0.07, 1000)}]}
    for legacy in (False, True):
        upstream = load_saved("tera", held, _use_new_zipfile_serialization=not legacy)
        assert upstream.num_layers == 3


def test_the_older_layout_of_mel_files(states, load_saved):
    """``Config`` holds the architecture; layer norms are called gamma and beta."""
    held = states("mockingjay")
    held["Config"] = held.pop("Upstream_Config")
    for new, old in (("weight", "gamma"), ("bias", "beta")):
        weights = held["Transformer"].items()
        weights = {k.replace(f"LayerNorm.{new}", f"LayerNorm.{old}"): v for k, v in weights}
        held["Transformer"] = weights
    assert load_saved("mockingjay", held).num_layers == 3


WEIGHTS = {"wavlm": "model", "hubert": "model_weight", "tera": "Transformer"}


@pytest.mark.parametrize("family", WEIGHTS)
def test_weights_that_do_not_fit_are_listed(states, load_saved, family):
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
    found = "1 missing.* 1 left over.* 1 misshapen.* 1 no plain floats.* 1 not finite"
    with pytest.raises(FeatnormError, match=found):
        load_saved(family, held)


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
def test_torchs_newer_names_of_weight_norm(states, load_saved, make_checkpoint, family):
    held = states(family)
    part = held["model" if family == "wavlm" else "model_weight"]
    for old, new in (("weight_g", "original0"), ("weight_v", "original1")):
        name = f"encoder.pos_conv.0.{old}"
        part[name.replace(old, f"parametrizations.weight.{new}")] = part.pop(name)
    wanted = features(load(family, make_checkpoint(family)))
    assert torch.equal(features(load_saved(family, held)), wanted)


HEADS = ("mask_emb", "quantizer", "project_q", "final_proj", "label_embs_concat")


@pytest.mark.parametrize("heads", [True, False])
@pytest.mark.parametrize("layout", ["s3prl", "cfg", "args"])
@pytest.mark.parametrize("family", ["hubert", "wav2vec2"])
def test_fairseqs_own_layouts_and_heads_of_pre_training_that_are_missing(
    states, load_saved, make_checkpoint, family, layout, heads
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
    found = load_saved(family, {**layouts[layout], "optimizer_history": []})
    assert torch.equal(features(found), features(load(family, make_checkpoint(family))))


def test_weights_alone_are_of_the_cards_size(states, load_saved):
    assert load_saved("wavlm", states("wavlm")["model"]).num_layers == 3
