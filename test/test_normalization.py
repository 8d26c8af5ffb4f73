"""FeatureNorm: the equation, on batches with padding."""

import numpy as np
import pytest
import torch

from featnorm_se.errors import FeatnormError
from featnorm_se.names import FEATURE_NORMS
from featnorm_se.normalization import FeatureNorm, LevelNorm
from featnorm_se.statistics import SiteStats

WIDTH = 6


def statistics(seed: int) -> SiteStats:
    rng = np.random.default_rng(seed)
    return SiteStats.of(rng.normal(size=(400, WIDTH)) * rng.uniform(0.3, 4, WIDTH) + seed)


CLEAN, NOISY = statistics(3), statistics(5)


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    lengths = torch.tensor([40, 23, 2])
    x = torch.randn(3, 40, WIDTH) * 5 + 2
    for row, length in zip(x, lengths, strict=True):
        row[length:] = 0
    return x, lengths


def test_given_statistics_stand_for_those_of_the_frames() -> None:
    x, _ = batch()
    norm = FeatureNorm(CLEAN)
    wanted = norm(x)
    norm.given = (x.mean(1, keepdim=True), x.std(1, correction=0, keepdim=True))
    torch.testing.assert_close(norm(x), wanted)
    assert not torch.allclose(norm(2 * x), wanted)


def test_another_layout_is_refused_and_never_guessed() -> None:
    x, lengths = batch()
    shares = lengths / lengths.max()  # as in SpeechBrain
    others = ((x, lengths[:1]), (x, lengths[:, None]), (x, shares))
    for bad in ((x[0],), (x[0], lengths), (x[None],), (x.long(),), *others):
        with pytest.raises(FeatnormError, match=r"features \(B, T, D\) and lengths \(B,\)"):
            FeatureNorm(CLEAN)(*bad)


@pytest.mark.parametrize("padded", [False, True])
def test_large_means_and_constant_channels_are_exact(padded):
    x = torch.randn(2, 300, 3, dtype=torch.float64)
    x = torch.stack([x[..., 0], 1e6 + x[..., 1], 100.1 + 0 * x[..., 2]], dim=2).float()
    clean = SiteStats.of(np.random.default_rng(0).normal(size=(50, 3)))
    lengths = torch.tensor([300, 200]) if padded else None
    y = FeatureNorm(clean)(x, lengths).double().numpy()
    for row, out, n in zip(x.double().numpy(), y, lengths if padded else (300, 300), strict=True):
        h = row[:n]
        wanted = clean.std * (h - h.mean(0)) / np.maximum(h.std(0), 1e-5) + clean.mean
        np.testing.assert_allclose(out[:n], wanted, atol=1e-5)


@pytest.mark.parametrize("norm", FEATURE_NORMS)
def test_equation_against_numpy(norm):
    x, lengths = batch()
    y = FeatureNorm(CLEAN, norm, NOISY)(x, lengths).detach().numpy()
    for row, out, length in zip(x.numpy().astype(np.float64), y, lengths, strict=True):
        h = row[:length]
        m, s = (NOISY.mean, NOISY.std) if norm == "corpus" else (h.mean(0), h.std(0))
        mu, sigma = (0, 1) if norm == "instance" else (CLEAN.mean, CLEAN.std)
        np.testing.assert_allclose(out[:length], sigma * (h - m) / s + mu, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("norm", FEATURE_NORMS)
def test_batch_equals_utterances_alone_and_its_padding_is_zero(norm):
    x, lengths = batch()
    x[1, 23:], x[2, 2:] = 7.0, torch.nan
    fn = FeatureNorm(CLEAN, norm, NOISY)
    together = fn(x, lengths)
    assert together[1, 23:].abs().max() == together[2, 2:].abs().max() == 0
    for index, length in enumerate(lengths.tolist()):
        alone = fn(x[index : index + 1, :length])
        torch.testing.assert_close(together[index, :length], alone[0], atol=1e-5, rtol=1e-5)
    # More frames than there are is all of them.
    torch.testing.assert_close(fn(x, lengths + 38)[0], fn(x, lengths.clamp_min(40))[0])


def test_mix_starts_at_fn_and_reaches_the_input():
    x, lengths = batch()
    mix = FeatureNorm(CLEAN, "mix")
    torch.testing.assert_close(mix(x, lengths), FeatureNorm(CLEAN, "utterance")(x, lengths))
    mix.weight.data.zero_()
    torch.testing.assert_close(mix(x, lengths), x)


@pytest.mark.parametrize("norm", FEATURE_NORMS)
def test_gradients_against_finite_differences(norm):
    torch.manual_seed(1)
    fn = FeatureNorm(CLEAN, norm, NOISY).double()
    x = torch.randn(2, 7, WIDTH, dtype=torch.float64, requires_grad=True)
    lengths = torch.tensor([7, 4])
    assert torch.autograd.gradcheck(lambda z: fn(z, lengths), (x,))


@pytest.mark.parametrize("norm", FEATURE_NORMS)
def test_constant_channels_and_single_frames_stay_finite(norm):
    x = torch.full((2, 5, WIDTH), 3.0, requires_grad=True)
    flat = SiteStats(9, NOISY.mean, 0 * NOISY.m2)
    y = FeatureNorm(CLEAN, norm, flat)(x, torch.tensor([5, 1]))
    y.sum().backward()
    assert torch.isfinite(y).all()
    assert torch.isfinite(x.grad).all()
    if norm == "utterance":
        np.testing.assert_allclose(y[1, 0].detach(), CLEAN.mean, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(dtype):
    x, lengths = batch()
    # A mean far above the deviation: sums in half precision would lose it.
    x = (x + 100).to(dtype)
    fn = FeatureNorm(CLEAN, "utterance")
    y = fn(x, lengths)
    assert y.dtype == dtype
    torch.testing.assert_close(y, fn(x.float(), lengths).to(dtype))


def test_compiles_and_saves():
    fn = FeatureNorm(CLEAN, "corpus", NOISY)
    empty = FeatureNorm.empty(WIDTH, "corpus")
    empty.load_state_dict(fn.state_dict())
    x, lengths = batch()
    torch.testing.assert_close(empty(x, lengths), fn(x, lengths))
    compiled = torch.compile(FeatureNorm(CLEAN, "utterance"), backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x, lengths), FeatureNorm(CLEAN, "utterance")(x, lengths))


def test_level_norm_sets_the_level_and_keeps_silence():
    wav = torch.randn(2, 1000) * torch.tensor([[0.5], [0.0]])
    wav[0, 600:] = torch.nan
    norm = LevelNorm()
    norm.level_db.fill_(-26.0)  # as the separator does
    y = norm(wav, torch.tensor([600, 1000]))
    level = 20 * torch.log10(y[0, :600].square().mean().sqrt())
    assert level.item() == pytest.approx(-26.0, abs=1e-3)
    assert y[1].abs().max() == 0
