"""The walk gives the very numbers of s3prl's experts; our own arithmetic (fast), to rounding."""

from __future__ import annotations

import pytest
import torch
from signals import VARIANTS, batch, noise

IDS = [f"{family}-{'-'.join(changes) or 'base'}" for family, changes in VARIANTS]


def worst_difference(upstream, expert, waves) -> float:
    with torch.no_grad():
        theirs = expert(waves)["hidden_states"]
        feats, lengths = upstream.extract(*batch(waves), list(upstream.sites))
    ours = [feats[site] for site in upstream.sites if site != "frontend"]
    assert len(ours) == len(theirs) == upstream.num_layers + 1
    gaps = []
    for mine, other in zip(ours, theirs, strict=True):
        for row, n in enumerate(lengths.tolist()):
            assert other.shape[1] >= n
            gaps.append((mine[row, :n] - other[row, :n]).abs().max().item())
    return max(gaps)


@pytest.mark.parametrize("fast,allowed", [(False, 2e-6), (True, 2e-5)])
@pytest.mark.parametrize("family,changes", VARIANTS, ids=IDS)
def test_alone(pair, family, changes, fast, allowed):
    upstream, expert = pair(family, **changes)
    upstream.configure(fast=fast)
    for wave in noise(16000, 9001, 12345, 16161, 800):
        assert worst_difference(upstream, expert, [wave]) < allowed


@pytest.mark.parametrize("fast,allowed", [(False, 2e-6), (True, 2e-5)])
@pytest.mark.parametrize("family,changes", VARIANTS, ids=IDS)
def test_the_padded_batch_of_s3prl(pair, family, changes, fast, allowed):
    upstream, expert = pair(family, **changes)
    upstream.padding = "s3prl"
    upstream.configure(fast=fast)
    assert worst_difference(upstream, expert, noise(16000, 9001, 12345, 16161)) < allowed


@pytest.mark.parametrize("padding", ["exact", "s3prl"])
def test_longer_than_the_longest_input(pair, padding):
    upstream, expert = pair("mockingjay", sequence_length=50)
    upstream.padding = padding
    for size in (160 * 49, 160 * 50, 160 * 77 + 3, 160 * 240):
        assert worst_difference(upstream, expert, noise(size)) < 2e-6
    if padding == "s3prl":
        assert worst_difference(upstream, expert, noise(160 * 240, 160 * 60)) < 2e-6


def test_pre_layer_norm_ends_as_s3prl_does(pair):
    upstream, expert = pair("tera", pre_layer_norm=True)
    waves = noise(9000)
    with torch.no_grad():
        last = expert(waves)["last_hidden_state"]
        feats, _ = upstream(*batch(waves))
    assert torch.allclose(feats, last, atol=2e-6)


def test_positions():
    """Our sinusoids against s3prl's own formula, row by row (its table takes long)."""
    import numpy as np

    from featnorm_se.upstream.mockingjay import sinusoids

    ours = sinusoids(1500, 48)
    for row in (0, 1, 7, 500, 1499):
        angle = [row / np.power(10000, 2 * (i // 2) / 48) for i in range(48)]
        theirs = [np.cos(a) if i % 2 else np.sin(a) for i, a in enumerate(angle)]
        assert torch.equal(ours[row], torch.FloatTensor(theirs))
