"""Copies, pickles, states, seeds: the same outputs."""

import copy
import pickle
import random

import numpy as np
import pytest
import torch
from signals import FAMILIES, batch, noise

from featnorm_se.upstream import load_upstream

NAMES = [*[f"{family}_tiny" for family in FAMILIES], "fbank"]


def trained(name: str):
    """An upstream after a step: its graph is what makes the naive copy fail."""
    upstream = load_upstream(name, "scratch", seed=1)
    feats, _ = upstream(*batch(noise(8000)))
    if feats.requires_grad:
        feats.sum().backward()
    return upstream


@pytest.mark.parametrize("name", NAMES)
def test_deepcopy_and_pickle(name):
    upstream = trained(name)
    waves = batch(noise(9000, 7000))
    with torch.no_grad():
        expected = upstream(*waves)[0]
        for twin in (copy.deepcopy(upstream), pickle.loads(pickle.dumps(upstream))):
            assert torch.equal(twin(*waves)[0], expected)
            assert twin.sites == upstream.sites and twin.identity == upstream.identity
            own = {p.data_ptr() for p in upstream.parameters()}
            assert own.isdisjoint(p.data_ptr() for p in twin.parameters())
            for parameter in twin.parameters():
                parameter.zero_()
        assert torch.equal(upstream(*waves)[0], expected)


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_draws_the_weights_and_nothing_else(name):
    def draws():
        return torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random()

    states = torch.get_rng_state(), np.random.get_state(), random.getstate()
    expected = draws()
    torch.set_rng_state(states[0])
    np.random.set_state(states[1])
    random.setstate(states[2])
    one = load_upstream(name, "scratch", seed=5)
    assert draws() == expected
    two, other = (load_upstream(name, "scratch", seed=number) for number in (5, 6))
    assert (one.identity, other.identity) == ("scratch:5", "scratch:6")
    for key, value in one.state_dict().items():
        assert torch.equal(value, two.state_dict()[key])
    changed = [not torch.equal(v, other.state_dict()[k]) for k, v in one.state_dict().items()]
    assert any(changed) or name == "fbank"
