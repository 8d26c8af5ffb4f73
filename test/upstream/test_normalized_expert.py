"""FN in our walk against FN put by hand, with hooks, into s3prl's own expert."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from signals import FAMILIES, MEL, batch, noise

from featnorm_se.normalization import FeatureNorm
from featnorm_se.statistics import SiteStats


def by_hand(x: np.ndarray, stats: SiteStats) -> np.ndarray:
    """FN of features (T, D) in float64, written from the equation."""
    x = x.astype(np.float64)
    return stats.std * (x - x.mean(0)) / np.maximum(x.std(0), 1e-5) + stats.mean


def statistics(width: int) -> SiteStats:
    rng = np.random.default_rng(width)
    return SiteStats.of(rng.normal(size=(99, width)) * rng.uniform(0.2, 2, width) + 0.3)


def hooked(stats: SiteStats, channels_first: bool, first_of: bool):
    """Return a forward hook that puts FN on an output (1, T, D), (T, 1, D) or (1, D, T)."""

    def hook(module, inputs, output):
        x = output[0] if first_of else output
        flat = x[0].T if channels_first else x.reshape(-1, x.shape[-1])
        y = torch.tensor(by_hand(flat.numpy(), stats), dtype=x.dtype)
        y = y.T[None] if channels_first else y.reshape(x.shape)
        return (y, *output[1:]) if first_of else y

    return hook


@pytest.mark.parametrize("family", FAMILIES)
def test_two_sites(pair, family):
    upstream, expert = pair(family)
    sites = ("projection" if family in MEL else "frontend", "layer.1")
    stats = [statistics(upstream.sites[site]) for site in sites]
    for site, value in zip(sites, stats, strict=True):
        upstream.set_norm(site, FeatureNorm(value))
    if family in MEL:
        model = expert.transformer.model
        below, layer = model.input_representations, model.encoder.layer[0]
    else:
        below, layer = expert.model.feature_extractor, expert.model.encoder.layers[0]
    below.register_forward_hook(hooked(stats[0], family not in MEL, False))
    layer.register_forward_hook(hooked(stats[1], False, family not in MEL))
    # 38 frames: s3prl pads an odd number in HuBERT and wav2vec 2.0, which the hook would count.
    wave = noise(400 + 37 * 320)[0]
    with torch.no_grad():
        ours, lengths = upstream(*batch([wave]))
        theirs = expert([wave])["hidden_states"][-1]
    torch.testing.assert_close(ours[:, : int(lengths[0])], theirs, atol=2e-5, rtol=1e-4)
