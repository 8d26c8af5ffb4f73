"""Sites by name; padding, lengths and the place of a frame in time."""

import pytest
import torch
from signals import FAMILIES, VARIANTS, batch, noise

from featnorm_se.errors import FeatnormError
from featnorm_se.upstream import load_upstream

ALL = [*FAMILIES, "fbank"]


def scratch(family: str):
    return load_upstream("fbank" if family == "fbank" else f"{family}_tiny", "scratch")


@pytest.mark.parametrize("family,changes", VARIANTS)
def test_alone_equals_in_a_batch(tiny, family, changes):
    """For group-norm models too: their convolutions see each utterance without padding."""
    upstream = tiny(family, **changes)
    waves = noise(16000, 801, 12345, 9000)
    with torch.no_grad():
        together, lengths = upstream.extract(*batch(waves), list(upstream.sites))
        for row, wave in enumerate(waves):
            alone, n = upstream.extract(*batch([wave]), list(upstream.sites))
            assert n.item() == lengths[row].item() == upstream.frames(len(wave))
            for site, feats in alone.items():
                assert torch.allclose(feats[0], together[site][row, :n], atol=5e-6), site


@pytest.mark.parametrize("family", ALL)
def test_padding_frames_are_zero_whatever_the_padding_holds(family):
    upstream = scratch(family)
    wav, lengths = batch(noise(16000, 9000))
    clean, frames = upstream(wav, lengths)
    wav[1, 9000:] = float("nan")
    dirty, _ = upstream(wav, lengths)
    assert torch.equal(clean, dirty)
    assert clean[1, frames[1] :].abs().max() == 0
    assert clean[1, : frames[1]].abs().sum(-1).min() > 0


@pytest.mark.parametrize("family", ALL)
def test_gradients_of_a_silent_recording_are_finite(family):
    wav, lengths = batch(noise(4000, 4000))
    wav[1] = 0
    scratch(family)(wav.requires_grad_(), lengths)[0].square().mean().backward()
    assert wav.grad.isfinite().all()


@pytest.mark.parametrize("family", ALL)
def test_frames_formula(family):
    upstream = scratch(family)
    sizes = [1, 200, 201, 399, 400, 401, 719, 720, 721, 1039, 1040, 16000, 16161, 31999]
    for size in sizes:
        feats, lengths = upstream(*batch(noise(size)))
        assert feats.shape[1] == lengths.item() == upstream.frames(size) >= 1
        assert torch.isfinite(feats).all()
        if family == "wavlm" and size >= 400:
            assert upstream.frames(size) == (size - 400) // 320 + 1
    assert upstream.frames(torch.tensor(sizes)).tolist() == [upstream.frames(n) for n in sizes]


@pytest.mark.parametrize("family", ALL)
def test_an_impulse_comes_out_at_its_own_time(family):
    upstream = scratch(family)
    for place in (4000, 8001, 12345):
        wav = 0.001 * torch.randn(1, 20000, generator=torch.Generator().manual_seed(1))
        lengths = torch.tensor([20000])
        struck = wav.clone()
        struck[0, place] = 1.0
        with torch.no_grad():
            before, _ = upstream.extract(wav, lengths, ["frontend"])
            after, _ = upstream.extract(struck, lengths, ["frontend"])
        change = (after["frontend"] - before["frontend"]).abs().sum(-1)[0]
        change = change - change.median()  # a level or a norm over time moves all frames
        weight = change.clamp(min=0.3 * change.max()) - 0.3 * change.max()
        centres = upstream.offset + upstream.hop * torch.arange(len(weight))
        seen = (weight * centres).sum() / weight.sum()
        assert abs(seen.item() - place) <= upstream.hop / 2


@pytest.mark.parametrize("family", FAMILIES)
def test_names(family):
    upstream = load_upstream(f"{family}_tiny", "scratch")
    assert list(upstream.sites) == ["frontend", "projection", "layer.1", "layer.2", "layer.3"]
    lowest = "projection" if family in ("tera", "mockingjay") else "frontend"
    assert upstream.resolve_sites("auto") == [upstream.lowest_site] == [lowest]
    assert upstream.resolve_sites("layer.3, frontend,layer.1") == ["frontend", "layer.1", "layer.3"]
    assert upstream.resolve_sites(["last"]) == ["layer.3"]
    assert upstream.resolve_sites("all") == list(upstream.sites)


def test_samples_of_int16_are_no_waveform_and_shares_no_lengths():
    with pytest.raises(FeatnormError, match=r"of floats .* not \(1, 800\) of torch.int16"):
        load_upstream("tera_tiny", "scratch")(torch.ones(1, 800).short(), torch.tensor([800]))
    with pytest.raises(FeatnormError, match="whole lengths"):
        load_upstream("tera_tiny", "scratch")(torch.ones(1, 800), torch.tensor([1.0]))
