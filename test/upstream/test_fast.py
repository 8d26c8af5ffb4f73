"""Our own arithmetic on s3prl's weights: the experts' outputs and gradients, with less kept."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from signals import LARGE, WAVEFORM, batch, noise

from featnorm_se.upstream import load_upstream

VARIANTS = [(family, changes) for family in WAVEFORM for changes in ({}, LARGE)]
SIZES = {"alone": (12345,), "together": (16000, 9001, 801)}


def gradients(model, features: list[torch.Tensor]) -> dict[str, torch.Tensor]:
    """Gradients by name of a loss, of features (T, D), that no layer norm makes constant."""
    model.zero_grad(set_to_none=True)
    weights = torch.randn(60, features[0].shape[-1], generator=torch.Generator().manual_seed(7))
    sum((x * weights[: len(x)]).sum() for x in features).backward()
    return {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


def valid(features, lengths) -> list[torch.Tensor]:
    return [row[:n] for row, n in zip(features, lengths.tolist(), strict=True)]


def assert_same(ours, theirs) -> None:
    """To a millionth or so of the largest gradient; a bias of keys, say, has none but noise."""
    largest = max(value.abs().max() for value in theirs.values())
    assert ours.keys() == theirs.keys() and largest > 0
    for name, value in theirs.items():
        allowed = 2e-5 * value.abs().max() + 1e-7 * largest
        assert (ours[name] - value).abs().max() <= allowed, name


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("family,changes", VARIANTS)
def test_outputs_and_gradients_of_the_genuine_expert(pair, family, changes, sizes, fast):
    """In a batch as s3prl's expert gives them for each utterance alone."""
    upstream, expert = pair(family, **changes)
    upstream.configure(fast=fast)
    expert.model.feature_grad_mult = 1.0
    waves = noise(*sizes)
    ours = valid(*upstream(*batch(waves)))
    theirs = [expert([wave])["hidden_states"][-1][0] for wave in waves]
    theirs = [other[: len(mine)] for mine, other in zip(ours, theirs, strict=True)]
    torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=0)
    assert_same(gradients(upstream.model, ours), gradients(expert.model, theirs))


@pytest.mark.parametrize("family", WAVEFORM)
def test_gradients_in_bfloat16_point_the_same_way(make_checkpoint, family):
    upstream = load_upstream(f"{family}_tiny", make_checkpoint(family))
    upstream.configure(dropout=0.0)
    upstream.train()
    flat = []
    for half in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            feats, lengths = upstream(*batch(noise(16000, 9001)))
        found = gradients(upstream.model, valid(feats.float(), lengths))
        flat.append(torch.cat([value.flatten().float() for value in found.values()]))
    assert F.cosine_similarity(flat[0], flat[1], dim=0) > 0.99
