"""Folders of Hugging Face's, as transformers' own classes wrote them.

What wrote them is in this repository's history: test/upstream/huggingface/make_fixture.py.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from bad_inputs_world import Payload
from signals import batch, noise

from featnorm_se.errors import FeatnormError
from featnorm_se.upstream import huggingface, load_upstream
from featnorm_se.upstream.checkpoint import read_checkpoint

FOLDERS = Path(__file__).parent / "huggingface"
NAMES = sorted(folder.parent.name for folder in FOLDERS.glob("*/config.json"))


def load(folder: Path, family: str = ""):
    return load_upstream(f"{family or folder.name.split('_')[0]}_tiny", folder)


@pytest.fixture
def copied(tmp_path):
    """``copied("wavlm_base", key=value)``: a folder to change, and its configuration changed."""

    def copy(name: str, **changes) -> Path:
        folder = tmp_path / name
        shutil.copytree(FOLDERS / name, folder)
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, **changes}))
        return folder

    return copy


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_every_site_is_as_in_transformers(name, fast):
    upstream = load(FOLDERS / name)
    upstream.configure(fast=fast)
    with np.load(FOLDERS / "expected.npz") as expected:
        wav = torch.from_numpy(expected["signal"])
        wanted = {site: torch.from_numpy(expected[f"{name}/{site}"]) for site in upstream.sites}
    with torch.no_grad():
        found, _ = upstream.extract(wav[None], torch.tensor([len(wav)]), list(upstream.sites))
    assert len(wanted) == 4
    for site, value in wanted.items():
        torch.testing.assert_close(found[site][0], value, atol=1e-5, rtol=1e-5)


def test_dropouts_are_the_cards_and_the_rest_is_the_folders(copied):
    folder = copied("wavlm_base", hidden_dropout=0.7, attention_dropout=0.7, feat_proj_dropout=0.7)
    upstream = load(folder)
    assert upstream.config["cfg"]["dropout"] == 0.1 and upstream.num_layers == 2
    # As the trained model stores it: the same network again, without the folder.
    twin = load_upstream("x", config={"family": "wavlm", **upstream.config})
    twin.load_state_dict(upstream.state_dict())
    assert torch.equal(twin(*batch(noise(4000)))[0], upstream(*batch(noise(4000)))[0])


def test_a_card_may_leave_all_but_the_family_to_the_folder(tmp_path):
    text = f"family: wav2vec2\nsource: {FOLDERS}/wav2vec2_base\nlayers: 2\narchitecture: {{}}\n"
    (tmp_path / "mine.yaml").write_text(text)
    wanted = load_upstream("wav2vec2", FOLDERS / "wav2vec2_base").state_dict()
    found = load_upstream("mine", conf_dir=tmp_path).state_dict()
    assert wanted.keys() == found.keys() and all(wanted[key].equal(found[key]) for key in wanted)


def test_the_identity_is_of_both_files_and_the_weights_lead_to_their_folder(copied):
    folder = copied("hubert_base")
    one = load(folder)
    shutil.copy(folder / "pytorch_model.bin", folder / "pytorch_model.fp16.bin")
    for name in ("pytorch_model.bin", "pytorch_model.fp16.bin"):
        assert load(folder / name, "hubert").identity == one.identity
    assert one.source == str(folder)
    config = folder / "config.json"
    config.write_text(config.read_text() + "\n")
    two = load(folder)
    weights = torch.load(folder / "pytorch_model.bin", weights_only=True)
    torch.save({**weights, "lm_head.bias": torch.ones(8)}, folder / "pytorch_model.bin")
    assert len({one.identity, two.identity, load(folder).identity}) == 3
    bare = {name.removeprefix("hubert."): value for name, value in weights.items()}
    bare = {name: value for name, value in bare.items() if not name.startswith("lm_head.")}
    assert huggingface.rename(weights).keys() == huggingface.rename(bare).keys() != bare.keys()


@pytest.mark.parametrize(
    ("changes", "family", "said"),
    [
        ({"model_type": "data2vec-audio"}, "wavlm", "type 'data2vec-audio'"),
        ({}, "hubert", "type 'wavlm', --upstream of the family hubert"),
        ({"quantization_config": {"bits": 8}}, "wavlm", "quantization_config"),
        ({"layer_norm_eps": 0.1}, "wavlm", "layer_norm_eps 0.1"),
        ({"hidden_act": "gelu_new"}, "wavlm", "hidden_act 'gelu_new'"),
        ({"num_hidden_layers": 3}, "wavlm", "missing"),
    ],
)
def test_what_is_no_such_model_is_one_line(copied, changes, family, said):
    with pytest.raises(FeatnormError) as caught:
        load(copied("wavlm_base", **changes), family)
    assert said in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("family", huggingface.FAMILIES)
def test_a_projection_to_as_many_channels_which_s3prl_has_not(copied, family):
    """A diagonal one does what the layer norm before it can do by itself."""
    folder = copied(f"{family}_base", conv_dim=[16, 16, 16, 24])
    model = {"wavlm": ""}.get(family, f"{family}.")
    (path,) = (folder / name for name in huggingface.WEIGHTS if (folder / name).is_file())
    weights = read_checkpoint(path)
    torch.manual_seed(0)
    scale, shift, conv = 1 + torch.rand(24), torch.randn(24), torch.randn(24, 16, 2)
    norm = {"weight": 1 + torch.rand(24), "bias": torch.randn(24)}
    weights[f"{model}feature_extractor.conv_layers.3.conv.weight"] = conv
    weights |= {f"{model}feature_projection.layer_norm.{key}": norm[key] for key in norm}
    weights[f"{model}feature_projection.projection.weight"] = scale.diag()
    weights[f"{model}feature_projection.projection.bias"] = shift
    path.unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    upstream = load(folder, family)
    config = json.loads(json.dumps({"family": family, **upstream.config}))
    twin = load_upstream("x", config=config)
    twin.load_state_dict(upstream.state_dict())
    del config[huggingface.FAMILIES[family][0]]["post_extract_proj"]
    without = load_upstream("x", config=config)
    states = {key: v for key, v in upstream.state_dict().items() if "post_extract" not in key}
    states["model.layer_norm.weight"] = norm["weight"] * scale
    states["model.layer_norm.bias"] = norm["bias"] * scale + shift
    without.load_state_dict(states)
    wanted = without(*batch(noise(4000)))[0]
    for one in (upstream, twin):
        torch.testing.assert_close(one(*batch(noise(4000)))[0], wanted, atol=1e-5, rtol=1e-5)
    with pytest.raises(FeatnormError, match="no layout"):
        upstream.s3prl_states()


def test_no_layer_norm_before_the_projection_as_in_distilhubert(copied):
    folder = copied("hubert_base", feat_proj_layer_norm=False)
    weights = torch.load(folder / "pytorch_model.bin", weights_only=True)
    for name in [name for name in weights if "feature_projection.layer_norm" in name]:
        del weights[name]
    torch.save(weights, folder / "pytorch_model.bin")
    upstream, whole = load(folder), load(FOLDERS / "hubert_base")
    whole.model.layer_norm = torch.nn.Identity()
    twin = load_upstream("x", config={"family": "hubert", **upstream.config})
    twin.load_state_dict(upstream.state_dict())
    for one in (upstream, twin):
        assert torch.equal(one(*batch(noise(4000)))[0], whole(*batch(noise(4000)))[0])
    with pytest.raises(FeatnormError, match="no layout"):
        upstream.s3prl_states()


def test_weights_that_no_feature_hangs_on_need_not_fit(copied):
    folder = copied("hubert_base")
    weights = torch.load(folder / "pytorch_model.bin", weights_only=True)
    weights["hubert.masked_spec_embed"].fill_(torch.nan)
    weights["hubert.final_proj.weight"] = torch.ones(3)
    torch.save(weights, folder / "pytorch_model.bin")
    assert load(folder).model.mask_emb.isfinite().all()


def test_no_code_of_a_folder_runs(copied, tmp_path):
    mark = tmp_path / "ran"
    code = f"import os; os.system('touch {mark}')"
    auto = {"AutoModel": "modeling.Model", "AutoConfig": "modeling.Config"}
    folder = copied("hubert_base", auto_map=auto, trust_remote_code=True, _name_or_path="../../x")
    (folder / "modeling.py").write_text(code)
    assert load(folder).num_layers == 2
    layer = f"16,10,5)] if __import__('os').system('touch {mark}') else [(16"
    hostile = copied("wavlm_base", conv_dim=[layer, 16, 16, 16])
    with pytest.raises(FeatnormError, match="conv_feature_layers"):
        load(hostile)
    weights = torch.load(folder / "pytorch_model.bin", weights_only=True)
    torch.save({"hubert.in_proj_weight": "x", 3: 4}, folder / "pytorch_model.bin")
    with pytest.raises(FeatnormError, match="1 left over"):
        load(folder)
    torch.save({**weights, "hubert.x": Payload(mark)}, folder / "pytorch_model.bin")
    with pytest.raises(FeatnormError, match="would execute code"):
        load(folder)
    assert not mark.exists()
    torch.load(folder / "pytorch_model.bin", weights_only=False)
    assert mark.exists()  # the payload was alive


# ---- names, and the other places that a checkpoint can be in ----


def test_a_name_is_fetched_once_and_a_local_folder_goes_first(hub, tmp_path):
    files = {path.name: path.read_bytes() for path in (FOLDERS / "hubert_base").iterdir()}
    hub.add_repository("someone/hubert", files)
    local = load(FOLDERS / "hubert_base")
    found = load_upstream("hubert_tiny", "someone/hubert")
    assert found.identity == local.identity and found.source.startswith(str(tmp_path / "hub"))
    count = len(hub.requests)
    assert load_upstream("hubert_tiny", "someone/hubert@main").identity == local.identity
    assert len(hub.requests) == count
    page = "https://huggingface.co/someone/hubert"
    for address in (page, f"{page}/tree/main", f"{page}/resolve/main/pytorch_model.bin"):
        assert load_upstream("hubert_tiny", address).identity == local.identity
    shutil.copytree(FOLDERS / "hubert_large", tmp_path / "someone" / "hubert")
    assert load_upstream("hubert_tiny", "someone/hubert").identity != local.identity


def test_a_card_names_a_file_of_the_hub_and_its_digest(hub, make_checkpoint, tmp_path):
    official = make_checkpoint("wavlm").read_bytes()
    hub.add_repository("s3prl/ckpts", {"wavlm.pt": official})
    card = "family: wavlm\nlayers: 3\nsource: https://huggingface.co/s3prl/ckpts/resolve/main/wavlm.pt\n"
    (tmp_path / "mine.yaml").write_text(f"{card}architecture: {{}}\n")
    assert load_upstream("mine", conf_dir=tmp_path).num_layers == 3
    (tmp_path / "mine.yaml").write_text(f"{card}sha256: {'ab' * 32}\narchitecture: {{}}\n")
    with pytest.raises(FeatnormError, match=r"wavlm\.pt has SHA-256 .*, not the card's abab"):
        load_upstream("mine", conf_dir=tmp_path)
    assert load_upstream("mine", tmp_path / "wavlm_tiny.pt", conf_dir=tmp_path).num_layers == 3
