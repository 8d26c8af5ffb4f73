"""Sites by name, and norms at them."""

from __future__ import annotations

import pytest
import torch
from signals import FAMILIES, batch, noise
from torch import nn

from featnorm_se.upstream import load_upstream


class Plus(nn.Module):
    """Adds one and keeps the lengths it was given."""

    def forward(self, x, lengths):
        self.lengths = lengths
        return x + 1.0


@pytest.mark.parametrize("family", FAMILIES)
def test_names(family):
    upstream = load_upstream(f"{family}_tiny", "scratch")
    assert list(upstream.sites) == ["frontend", "projection", "layer.1", "layer.2", "layer.3"]
    lowest = "projection" if family in ("tera", "mockingjay") else "frontend"
    assert upstream.resolve_sites("auto") == [upstream.lowest_site] == [lowest]
    assert upstream.resolve_sites("layer.3, frontend,layer.1") == ["frontend", "layer.1", "layer.3"]
    assert upstream.resolve_sites(["last"]) == ["layer.3"]


@pytest.mark.parametrize("family", FAMILIES)
def test_norms_act_at_their_site(family):
    upstream = load_upstream(f"{family}_tiny", "scratch")
    waves = batch(noise(9000, 6000))
    sites = list(upstream.sites)
    plain, frames = upstream.extract(*waves, sites)
    upstream.set_norm("layer.1", Plus())
    normed, _ = upstream.extract(*waves, sites)
    off, _ = upstream.extract(*waves, sites, apply_norms=False)
    valid = frames[1]
    assert torch.equal(upstream.norms["layer_1"].lengths, frames)
    assert torch.equal(normed["frontend"], plain["frontend"])
    assert torch.equal(normed["projection"], plain["projection"])
    assert torch.equal(normed["layer.1"][1, :valid], plain["layer.1"][1, :valid] + 1)
    assert normed["layer.1"][1, valid:].abs().sum() == 0
    assert not torch.allclose(normed["layer.2"], plain["layer.2"])
    assert all(torch.equal(off[site], plain[site]) for site in sites)
