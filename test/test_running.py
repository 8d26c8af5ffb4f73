"""RunningNorm: causal, the same in pieces, and `utterance` in the end."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from featnorm_se.normalization import FeatureNorm
from featnorm_se.running import RunningNorm
from featnorm_se.statistics import SiteStats

RNG = np.random.default_rng(0)
CLEAN = SiteStats.of(RNG.normal(size=(300, 4)) * 2 + 50)
NOISY = SiteStats.of(RNG.normal(size=(300, 4)) * 3 + 60)


def signal(frames: int = 400) -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(2, frames, 4) * 3 + 60


def test_pieces_give_what_the_whole_gives():
    norm, x = RunningNorm(CLEAN, NOISY, prior_frames=20), signal()
    whole = norm(x)
    state, parts = None, []
    for piece in x.split([1, 7, 92, 300], dim=1):
        y, state = norm.stream(piece, state)
        parts.append(y)
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, atol=1e-5, rtol=1e-5)


def test_no_frame_depends_on_the_future():
    norm, x = RunningNorm(CLEAN), signal()
    other = x.clone()
    other[:, 200:] += 1000
    torch.testing.assert_close(norm(x)[:, :200], norm(other)[:, :200])


@pytest.mark.parametrize("prior", [0.0, 50.0])
def test_converges_to_the_norm_utterance(prior):
    norm, utterance = RunningNorm(CLEAN, NOISY, prior_frames=prior), FeatureNorm(CLEAN)
    distances = []
    for frames in (50, 400, 6000):
        x = signal(frames)
        distances.append((norm(x)[:, -1] - utterance(x)[:, -1]).abs().max().item())
    if prior:
        assert distances[2] < distances[0] / 5
    assert distances[2] < (0.05 if prior else 1e-3)


def test_first_frame_without_and_with_a_prior():
    x = signal()
    np.testing.assert_allclose(RunningNorm(CLEAN)(x)[0, 0], CLEAN.mean, rtol=1e-5)
    # A prior that weighs all: the fixed map of the norm `corpus`.
    y = RunningNorm(CLEAN, NOISY, prior_frames=1e9)(x)
    torch.testing.assert_close(y, FeatureNorm(CLEAN, "corpus", NOISY)(x), atol=1e-3, rtol=1e-4)


def test_padding_stays_zero_and_lengths_do_not_matter_before():
    norm, x = RunningNorm(CLEAN), signal(30)
    y = norm(x, torch.tensor([30, 12]))
    assert y[1, 12:].abs().max() == 0
    torch.testing.assert_close(y[1, :12], norm(x)[1, :12])
