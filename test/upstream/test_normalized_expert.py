"""FN in our walk against FN put by hand, with hooks, into s3prl's own expert."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from signals import batch, noise

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


@pytest.mark.parametrize("family", ["wavlm", "hubert", "wav2vec2"])
def test_waveform_models_at_two_sites(pair, family):
    upstream, expert = pair(family)
    # 38 frames: s3prl pads an odd number in HuBERT and wav2vec 2.0, which the hook would count.
    wave = noise(400 + 37 * 320)[0]
    front, layer = (statistics(upstream.sites[site]) for site in ("frontend", "layer.1"))
    upstream.set_norm("frontend", FeatureNorm(front))
    upstream.set_norm("layer.1", FeatureNorm(layer))
    expert.model.feature_extractor.register_forward_hook(hooked(front, True, False))
    expert.model.encoder.layers[0].register_forward_hook(hooked(layer, False, True))
    with torch.no_grad():
        ours, lengths = upstream(*batch([wave]))
        theirs = expert([wave])["hidden_states"][-1]
    torch.testing.assert_close(ours[:, : int(lengths[0])], theirs, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("family", ["tera", "mockingjay"])
def test_mel_models_at_two_sites(pair, family):
    upstream, expert = pair(family)
    wave = noise(12000)[0]
    stats = {site: statistics(upstream.sites[site]) for site in ("projection", "layer.1")}
    for site, value in stats.items():
        upstream.set_norm(site, FeatureNorm(value))
    model = expert.transformer.model
    model.input_representations.register_forward_hook(hooked(stats["projection"], False, False))
    model.encoder.layer[0].register_forward_hook(hooked(stats["layer.1"], False, False))
    with torch.no_grad():
        ours, _ = upstream(*batch([wave]))
        theirs = expert([wave])["hidden_states"][-1]
    torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=1e-4)
