"""The cards: complete and true; and an upstream described by them."""

from pathlib import Path

import pytest

from featnorm_se.upstream import load_upstream, upstream_card, upstream_names

CONF = Path(load_upstream.__code__.co_filename).parent / "conf"


@pytest.mark.parametrize("name", upstream_names())
def test_cards_agree_with_themselves(name):
    card = upstream_card(name)
    assert {"family", "source", "parameters", "hop", "width", "layers", "licence"} <= set(card)
    if card["family"] in ("tera", "mockingjay"):
        held = card["architecture"]["transformer"]
        shape = held["hidden_size"], held["num_hidden_layers"]
        assert held["hidden_size"] == card["architecture"]["task"]["position_encoding_size"]
    elif card["family"] == "fbank":
        shape = card["architecture"]["mel"]["n_mels"], 0
    else:
        held = card["architecture"]["cfg" if card["family"] == "wavlm" else "model_cfg"]
        shape = held["encoder_embed_dim"], held["encoder_layers"]
    assert shape == (card["width"], card["layers"])


@pytest.mark.parametrize(
    "name", [n for n in upstream_names() if n.endswith("_tiny")] + ["fbank", "tera_small"]
)
def test_cards_agree_with_what_they_build(name):
    card, upstream = upstream_card(name), load_upstream(name, "scratch")
    for name in ("family", "hop", "width", "lowest_site"):
        assert getattr(upstream, name) == card[name]
    assert upstream.num_layers == card["layers"]
    assert sum(p.numel() for p in upstream.parameters()) == card["parameters"]


def test_the_small_upstream_comes_with_its_weights():
    shipped, again = load_upstream("tera_small"), load_upstream("tera_small")
    assert shipped.source.endswith("conf/tera_small.pt") and shipped.identity.startswith("sha256:")
    own, random = (
        dict(u.named_parameters()) for u in (shipped, load_upstream("tera_small", "scratch"))
    )
    assert all((value == dict(again.named_parameters())[name]).all() for name, value in own.items())
    weight = "model.encoder.layer.0.attention.self.query.weight"
    assert own[weight].dtype == own[weight].float().dtype and (own[weight] != random[weight]).any()


def test_a_recipes_card_goes_first(tmp_path):
    text = (CONF / "tera_tiny.yaml").read_text()
    (tmp_path / "tera_tiny.yaml").write_text(
        text.replace("num_hidden_layers: 3", "num_hidden_layers: 1")
    )
    (tmp_path / "own.yaml").write_text(text)
    assert load_upstream("tera_tiny", "scratch", conf_dir=tmp_path).num_layers == 1
    assert load_upstream("own", "scratch", conf_dir=tmp_path).name == "own"
    assert load_upstream("wavlm_tiny", "scratch", conf_dir=tmp_path).num_layers == 3
    assert "own" in upstream_names(tmp_path)
