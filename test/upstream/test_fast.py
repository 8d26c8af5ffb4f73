"""Our own arithmetic on s3prl's weights: the experts' outputs and gradients, with less kept."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from signals import LARGE, WAVEFORM, batch, noise

from featnorm_se.upstream import load_upstream
from featnorm_se.upstream.fast import attention

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


def test_attention_with_dropout_written_out(monkeypatch):
    """Gated and padded; what the genuine experts cannot show."""
    torch.manual_seed(0)
    batches, heads, size, width, dropout = 2, 3, 7, 4, 0.3
    shape = (batches * heads, size)
    kept = (torch.rand(*shape, size) > dropout).to(torch.uint8)
    monkeypatch.setattr(attention, "_kept", lambda x, rate: kept)
    parts = [torch.randn(*shape, width, dtype=torch.double) for _ in range(3)]
    parts += [torch.rand(*shape, 1, dtype=torch.double)]
    parts += [torch.randn(heads, size, size, dtype=torch.double)]
    q, k, v, gate, position = (part.requires_grad_(True) for part in parts)
    mask = torch.arange(size)[None] >= torch.tensor([[7], [4]])
    scores = q @ k.transpose(1, 2) / width**0.5 + gate * position.repeat(batches, 1, 1)
    scores = scores.masked_fill(mask.repeat_interleave(heads, 0)[:, None], -torch.inf)
    theirs = (scores.softmax(-1) * kept / (1 - dropout)) @ v
    ours = attention._Attention.apply(q, k, v, gate, position, mask, dropout)
    factor = torch.randn_like(theirs)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(
        torch.autograd.grad((ours * factor).sum(), parts),
        torch.autograd.grad((theirs * factor).sum(), parts),
    )


@pytest.mark.parametrize("rate", [0.001, 0.1, 0.5, 0.95])
def test_dropout_loses_its_share_and_no_more(rate):
    torch.manual_seed(0)
    kept = attention._kept(torch.empty(1001, 1003), rate)
    lost = 1.0 - kept.double().mean().item()
    assert abs(lost - rate) < 5 * (rate * (1 - rate) / kept.numel()) ** 0.5 + 1e-5
    together = (1 - kept[:, 1:].double()) * (1 - kept[:, :-1].double())
    assert abs(together.mean().item() - rate**2) < 2e-3  # neighbours know nothing of each other


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
