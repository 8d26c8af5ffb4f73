"""The walk gives the very numbers of s3prl's experts; our own arithmetic (fast), to rounding."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from signals import VARIANTS, batch, noise

from featnorm_se.upstream.batching import piece_sizes
from featnorm_se.upstream.mockingjay import sinusoids

IDS = [f"{family}-{'-'.join(changes) or 'base'}" for family, changes in VARIANTS]


def worst_difference(upstream, expert, wave) -> float:
    with torch.no_grad():
        theirs = expert([wave])["hidden_states"]
        feats, lengths = upstream.extract(*batch([wave]), list(upstream.sites))
    ours = [feats[site] for site in upstream.sites if site != "frontend"]
    assert len(ours) == len(theirs) == upstream.num_layers + 1
    n = int(lengths[0])
    gaps = []
    for mine, other in zip(ours, theirs, strict=True):
        assert other.shape[1] >= n == mine.shape[1]
        gaps.append((mine[0] - other[0, :n]).abs().max().item())
    return max(gaps)


@pytest.mark.parametrize("fast,allowed", [(False, 2e-6), (True, 2e-5)])
@pytest.mark.parametrize("family,changes", VARIANTS, ids=IDS)
def test_every_site_of_the_genuine_expert(pair, family, changes, fast, allowed):
    upstream, expert = pair(family, **changes)
    upstream.configure(fast=fast)
    for wave in noise(16000, 9001, 12345, 16161, 800):
        assert worst_difference(upstream, expert, wave) < allowed


def test_longer_than_the_longest_input(pair):
    upstream, expert = pair("mockingjay", sequence_length=50)
    for size in (160 * 49, 160 * 50, 160 * 77 + 3, 160 * 240):
        assert worst_difference(upstream, expert, *noise(size)) < 2e-6
    assert [upstream.piece(160 * frames) for frames in (49, 50, 240)] == [0, 160 * 26, 160 * 49]
    assert piece_sizes(60, 49, start=40) == [9, 49, 2]


def test_pre_layer_norm_ends_as_s3prl_does(pair):
    upstream, expert = pair("tera", pre_layer_norm=True)
    waves = noise(9000)
    with torch.no_grad():
        last = expert(waves)["last_hidden_state"]
        feats, _ = upstream(*batch(waves))
    assert torch.allclose(feats, last, atol=2e-6)


def test_positions():
    """Our sinusoids against s3prl's own formula, row by row (its table takes long)."""
    ours = sinusoids(1500, 48)
    for row in (0, 1, 7, 500, 1499):
        angle = [row / np.power(10000, 2 * (i // 2) / 48) for i in range(48)]
        theirs = [np.cos(a) if i % 2 else np.sin(a) for i, a in enumerate(angle)]
        assert torch.equal(ours[row], torch.FloatTensor(theirs))
