"""The cards: complete and true; and an upstream described by them."""

from pathlib import Path

import pytest

from featnorm_se.bin import info, run
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


def shown_by_info(capsys, *words):
    assert run(info.main, list(words)) == 0
    lines = [line.split(None, 1) for line in capsys.readouterr().out.splitlines()]
    return dict(line for line in lines if len(line) == 2)


def test_info(capsys, make_checkpoint):
    words = ["--upstream", "wavlm_tiny", "--upstream_ckpt", "scratch"]
    shown = shown_by_info(capsys, *words, "--seed", "4")
    upstream = load_upstream("wavlm_tiny", "scratch", seed=4)
    assert shown["parameters"] == f"{sum(p.numel() for p in upstream.parameters()):,}"
    assert shown["hop"].startswith("320 ") and shown["weights"] == "scratch:4"
    assert shown["source"] == "none (random weights)" and "Apache" in shown["licence"]
    assert {site: shown[site] for site in upstream.sites} == {
        site: str(width) for site, width in upstream.sites.items()
    }
    shown, card = shown_by_info(capsys, "--upstream", "tera"), upstream_card("tera")
    assert shown["weights"] == "not read, see --upstream_ckpt"
    assert (shown["source"], shown["licence"]) == (card["source"], card["licence"])
    assert shown["parameters"] == f"{card['parameters']:,}" and shown["layer.3"] == "768"
    path = str(make_checkpoint("wavlm"))  # the file that is used is named, not the card's
    shown = shown_by_info(capsys, "--upstream", "wavlm_tiny", "--upstream_ckpt", path)
    assert shown["source"] == path and "Apache" not in shown["licence"]
