"""Fine-tuning: gradients where they belong, nothing left without one, everything on purpose."""

import pytest
import torch
from signals import FAMILIES, LARGE, WAVEFORM, batch, noise
from torch import nn

from featnorm_se.errors import FeatnormError
from featnorm_se.upstream import load_upstream
from featnorm_se.upstream.precision import computing

VARIANTS = [*[(f, {}) for f in FAMILIES], *[(f, LARGE) for f in WAVEFORM]]


def step(upstream, sizes=(8000, 6000), site="last") -> None:
    """One backward pass through a layer, in training mode."""
    upstream.train()
    (feats,) = upstream.extract(*batch(noise(*sizes)), [site])[0].values()
    feats.pow(2).sum().backward()


@pytest.mark.parametrize("freeze,site", [("none", "last"), ("cnn", "last"), ("none", "layer.1")])
@pytest.mark.parametrize("family,changes", VARIANTS)
def test_every_trainable_parameter_gets_a_gradient(tiny, family, changes, freeze, site):
    upstream = tiny(family, **changes)
    upstream.configure(freeze=freeze, feature=site)
    assert not upstream.training
    step(upstream, site=site)
    parameters = upstream.named_parameters()
    assert [n for n, p in parameters if p.requires_grad != (p.grad is not None)] == []
    if family in WAVEFORM and freeze == "none":  # s3prl's expert leaves them without any
        first = upstream.model.feature_extractor.conv_layers[0][0].weight
        assert first.grad.abs().max() > 0


def test_what_is_used_is_found_in_any_mode_and_draws_nothing(tiny, tmp_path):
    state = torch.get_rng_state()
    with torch.inference_mode():
        upstream = tiny("wavlm")
        upstream.configure(feature="layer.2")
    used = {name: p.requires_grad for name, p in upstream.model.named_parameters()}
    assert used["encoder.layers.1.fc1.weight"] and not used["encoder.layers.2.fc1.weight"]
    assert torch.equal(torch.get_rng_state(), state)
    weights = torch.load(upstream.source, weights_only=True)
    del weights["model"]["encoder.layers.0.fc1.weight"]
    torch.save(weights, tmp_path / "lacks.pt")
    with torch.inference_mode(), pytest.raises(FeatnormError, match="1 missing"):
        load_upstream("wavlm_tiny", tmp_path / "lacks.pt")


class Shift(nn.Module):
    """A norm with a weight of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.by = nn.Parameter(torch.zeros(16))

    def forward(self, x, lengths):
        return x + self.by


@pytest.mark.parametrize("family", FAMILIES)
def test_freeze(tiny, family):
    upstream = tiny(family)
    upstream.configure(freeze="all")
    upstream.train()
    waves = batch(noise(8000))
    one, two = upstream(*waves)[0], upstream(*waves)[0]
    assert not one.requires_grad and torch.equal(one, two)  # no dropout in a frozen part
    if family in WAVEFORM:
        upstream.set_norm("frontend", Shift())
        step(upstream)
        assert upstream.norms["frontend"].by.grad.abs().sum() > 0
        extractor = upstream.model.feature_extractor
        upstream.configure(freeze="cnn")
        assert not any(p.requires_grad for p in extractor.parameters()) and not extractor.training
        upstream.configure()
        assert all(p.requires_grad for p in extractor.parameters()) and extractor.training


def rates(upstream) -> set[float]:
    return {m.p for m in upstream.model.modules() if "Dropout" in type(m).__name__}


@pytest.mark.parametrize("family", FAMILIES)
def test_dropout(tiny, family):
    upstream = tiny(family)
    own = rates(upstream)
    waves = batch(noise(8000))
    upstream.train()
    assert not torch.equal(upstream(*waves)[0], upstream(*waves)[0])
    upstream.configure(dropout=0.0)
    assert torch.equal(upstream(*waves)[0], upstream(*waves)[0])
    upstream.configure(dropout=0.4)
    assert 0.4 in rates(upstream)
    upstream.configure()
    assert rates(upstream) == own


def two_ways(tiny, family, half=False, **settings):
    """Gradients without and with gradient checkpointing, of the same random draws."""
    found = []
    for on in (False, True):
        upstream = tiny(family)
        upstream.configure(gradient_checkpointing=on, **settings)
        torch.manual_seed(3)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            step(upstream)
        found.append({n: p.grad for n, p in upstream.named_parameters() if p.requires_grad})
    return found


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "settings", [{"dropout": 0.0}, {}, {"freeze": "cnn"}, {"fast": False}, {"half": True}]
)
def test_checkpointing_changes_no_gradient(tiny, family, settings):
    """Nor the draws of dropout, nor what autocast computes in, on a ragged batch."""
    plain, checkpointed = two_ways(tiny, family, **settings)
    assert plain.keys() == checkpointed.keys()
    largest = max(float(gradient.abs().max()) for gradient in plain.values())
    # Sums over a batch are in another order; in bfloat16 that is seen.
    allowed = 2e-2 if "half" in settings else 1e-5
    for name, gradient in plain.items():
        assert torch.allclose(gradient, checkpointed[name], atol=allowed * largest), name


@pytest.mark.parametrize("precision", ["auto", "float32"])
def test_on_a_gpu_attention_is_not_cudnns(monkeypatch, precision):
    """Beside a mask its gradients can be NaN: https://github.com/pytorch/pytorch/issues/196678."""
    asked = []
    monkeypatch.setattr(torch.backends.cuda, "enable_cudnn_sdp", asked.append)
    monkeypatch.setattr(torch, "set_float32_matmul_precision", lambda _: None)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    with computing(torch.device("cuda"), precision):
        assert asked == [False]
