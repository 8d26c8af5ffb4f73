"""Fine-tuning: gradients where they belong, nothing left without one, everything on purpose."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest
import torch
from signals import FAMILIES, LARGE, WAVEFORM, batch, noise
from torch import nn

from featnorm_se.errors import FeatnormError
from featnorm_se.upstream import layers, load_upstream

VARIANTS = [*[(f, {}) for f in FAMILIES], *[(f, LARGE) for f in WAVEFORM]]


@pytest.fixture
def make(make_checkpoint):
    def build(family, **changes):
        return load_upstream(f"{family}_tiny", make_checkpoint(family, **changes))

    return build


def step(upstream, sizes=(8000, 6000)) -> None:
    """One backward pass through the last layer, in training mode."""
    upstream.train()
    feats, _ = upstream(*batch(noise(*sizes)))
    feats.pow(2).sum().backward()


@pytest.mark.parametrize("freeze", ["none", "cnn"])
@pytest.mark.parametrize("family,changes", VARIANTS)
def test_every_trainable_parameter_gets_a_gradient(make, family, changes, freeze):
    upstream = make(family, **changes)
    upstream.configure(freeze=freeze)
    step(upstream)
    without = [n for n, p in upstream.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []
    still = [
        n for n, p in upstream.named_parameters() if not p.requires_grad and p.grad is not None
    ]
    assert still == []


@pytest.mark.parametrize("family", WAVEFORM)
def test_gradients_reach_the_convolutions(make, pair, family):
    upstream, expert = pair(family)
    step(upstream)
    first = upstream.model.feature_extractor.conv_layers[0][0].weight
    assert first.grad.abs().max() > 0
    # The naive way: s3prl's expert in training mode leaves them without any.
    expert.train()
    expert(noise(8000))["last_hidden_state"].pow(2).sum().backward()
    assert expert.model.feature_extractor.conv_layers[0][0].weight.grad is None
    assert expert.model.mask_emb.requires_grad and expert.model.mask_emb.grad is None


@pytest.fixture
def process_group(tmp_path):
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1
    )
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("family", FAMILIES)
def test_distributed_training_needs_no_search_for_unused_parameters(make, family, process_group):
    """The naive way fails here: one parameter without a gradient stops the second step."""
    upstream = make(family)
    upstream.configure(layer_drop=0.5)
    parallel = nn.parallel.DistributedDataParallel(upstream)
    parallel.train()
    for seed in range(3):
        parallel(*batch(noise(8000, seed=seed)))[0].sum().backward()
    if family in WAVEFORM:
        upstream.model.mask_emb.requires_grad_(True)
        naive = nn.parallel.DistributedDataParallel(upstream)
        with pytest.raises(RuntimeError, match="reduction"):
            for seed in range(3):
                naive(*batch(noise(8000, seed=seed)))[0].sum().backward()


@pytest.mark.parametrize("family", FAMILIES)
def test_frozen_whole(make, family):
    upstream = make(family)
    upstream.configure(freeze="all")
    upstream.train()
    waves = batch(noise(8000))
    one, _ = upstream(*waves)
    two, _ = upstream(*waves)
    assert not one.requires_grad and torch.equal(one, two)  # no dropout in a frozen part
    assert not any(p.requires_grad for p in upstream.parameters())


@pytest.mark.parametrize("family", WAVEFORM)
def test_frozen_convolutions_and_back(make, family):
    upstream = make(family)
    upstream.configure(freeze="cnn")
    extractor = upstream.model.feature_extractor
    assert not any(p.requires_grad for p in extractor.parameters())
    assert not upstream.train().model.feature_extractor.training
    upstream.configure(freeze="none")
    assert all(p.requires_grad for p in extractor.parameters()) and extractor.training


def test_a_frozen_upstream_still_trains_its_norms(make):
    class Shift(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.by = nn.Parameter(torch.zeros(16))

        def forward(self, x, lengths):
            return x + self.by

    upstream = make("wavlm")
    upstream.set_norm("frontend", Shift())
    upstream.configure(freeze="all")
    step(upstream)
    assert upstream.norms["frontend"].by.grad.abs().sum() > 0


def rates(upstream) -> set[float]:
    return {m.p for m in upstream.model.modules() if "Dropout" in type(m).__name__}


@pytest.mark.parametrize("family", FAMILIES)
def test_dropout(make, family):
    upstream = make(family)
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


@pytest.mark.parametrize("family", FAMILIES)
def test_layer_drop(make, family):
    upstream = make(family)
    upstream.configure(dropout=0.0, layer_drop=0.6)
    waves = batch(noise(8000))
    assert torch.equal(upstream(*waves)[0], upstream(*waves)[0])  # in eval mode: never
    upstream.train()
    torch.manual_seed(0)
    outputs = [upstream(*waves)[0] for _ in range(8)]
    assert any(not torch.equal(outputs[0], other) for other in outputs)
    for seed in range(6):  # whichever are left out, every parameter gets a gradient
        upstream.zero_grad(set_to_none=True)
        torch.manual_seed(seed)
        step(upstream)
        assert all(p.grad is not None for p in upstream.parameters() if p.requires_grad)


@pytest.mark.parametrize("size", [48000, 900])
@pytest.mark.parametrize("family", FAMILIES)
def test_spec_augment(make, family, size):
    upstream = make(family)
    upstream.configure(dropout=0.0, spec_augment=True)
    waves = batch(noise(size))
    upstream.eval()
    plain = upstream(*waves)[0]
    assert torch.equal(plain, upstream(*waves)[0])
    step(upstream, (size, size))
    assert all(p.grad is not None for p in upstream.parameters() if p.requires_grad)
    if size > 10000:
        changed = [not torch.allclose(plain, upstream(*waves)[0], atol=1e-4) for _ in range(4)]
        assert any(changed)


def two_ways(make, family, half=False, **settings):
    """Gradients without and with gradient checkpointing, of the same random draws."""
    found = []
    for on in (False, True):
        upstream = make(family)
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
def test_checkpointing_changes_no_gradient(make, family, settings):
    """Nor the draws of dropout, nor what autocast computes in, on a ragged batch."""
    plain, checkpointed = two_ways(make, family, **settings)
    assert plain.keys() == checkpointed.keys()
    largest = max(float(gradient.abs().max()) for gradient in plain.values())
    # Sums over a batch are in another order; in bfloat16 that is seen.
    allowed = 2e-2 if "half" in settings else 1e-5
    for name, gradient in plain.items():
        assert torch.allclose(gradient, checkpointed[name], atol=allowed * largest), name


@pytest.mark.parametrize("fast", [True, False])
def test_checkpointing_keeps_little_more_than_the_signal(make, fast):
    """Of all that a forward pass leaves for the backward pass, weights apart."""
    kept = []
    for on in (False, True):
        upstream = make("wavlm")
        upstream.configure(gradient_checkpointing=on, fast=fast)
        upstream.train()
        own = {p.untyped_storage().data_ptr() for p in upstream.parameters()}
        stores = {}

        def pack(x, stores=stores):
            stores[x.untyped_storage().data_ptr()] = x.untyped_storage()
            return x

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            upstream.extract(*batch(noise(32000, 24000)), ["projection"])
        kept.append(sum(store.nbytes() for at, store in stores.items() if at not in own))
    assert kept[1] < 0.3 * kept[0], kept


def resident() -> float:
    """MiB of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


@pytest.mark.skipif(layers._trim() is None, reason="not glibc")
def test_memory_between_tensors_that_stay_is_given_back():
    held = [torch.ones(15_000) for _ in range(4000)]  # of 60 kB, from the heap
    kept, full = held[::8], resident()
    del held
    layers.give_memory_back()
    assert resident() < full - 100 and all(float(x.sum()) == 15_000 for x in kept)


def test_another_c_library_keeps_what_it_keeps(monkeypatch):
    monkeypatch.setattr(layers, "_trim", lambda: None)
    layers.give_memory_back()


@pytest.mark.parametrize("wrong", [{"freeze": "some"}, {"dropout": 1.0}, {"layer_drop": -0.1}])
def test_wrong_settings(make, wrong):
    with pytest.raises(FeatnormError):
        make("tera").configure(**wrong)


@pytest.mark.parametrize("family", FAMILIES)
def test_twenty_steps_lower_the_loss(make, family):
    torch.manual_seed(0)
    upstream = make(family)
    upstream.configure(dropout=0.0)
    upstream.train()
    head = nn.Linear(upstream.width, 4)
    wav, lengths = batch(noise(8000, 8000))
    target = torch.randn(2, upstream.frames(8000), 4)
    optimizer = torch.optim.Adam([*upstream.parameters(), *head.parameters()], lr=2e-3)
    losses = []
    for _ in range(20):
        loss = (head(upstream(wav, lengths)[0]) - target).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("family", FAMILIES)
def test_bfloat16_autocast(make, family):
    upstream = make(family)
    waves = batch(noise(8000, 6000))
    plain = upstream(*waves)[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = upstream(*waves)[0]
    assert (plain - half.float()).abs().mean() < 0.05 * plain.abs().mean()


@pytest.mark.parametrize("init", ["xavier_uniform", "kaiming_normal", "normal", "chainer"])
@pytest.mark.parametrize("family", FAMILIES)
def test_espnet_init_leaves_the_weights_alone(make, family, init):
    initialize = pytest.importorskip("espnet2.torch_utils.initialize").initialize
    upstream = make(family)
    before = {n: p.detach().clone() for n, p in upstream.named_parameters()}
    holder = nn.ModuleDict({"upstream": upstream, "head": nn.Linear(upstream.width, 3)})
    head = holder["head"].weight.detach().clone()
    initialize(holder, init)
    assert not torch.equal(head, holder["head"].weight)
    changed = [n for n, p in upstream.named_parameters() if not torch.equal(p, before[n])]
    assert changed == []
