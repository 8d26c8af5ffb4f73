"""The louder half of the frames, found where they are in the waveform."""

from __future__ import annotations

import pytest
import torch

from featnorm_se.normalization import FeatureNorm
from featnorm_se.statistics import SiteStats
from featnorm_se.upstream import load_upstream
from featnorm_se.upstream.loud import loud_frames


def test_loud_frames_are_where_the_signal_is_loud():
    torch.manual_seed(0)
    wav = torch.randn(2, 16000) * 0.01
    wav[0, 4000:12000] *= 50  # the middle half of the first
    wav[1, 8000:] = 0  # the second is 8000 samples long
    wav[1, :4000] *= 50
    lengths = torch.tensor([101, 51])
    loud = loud_frames(wav, torch.tensor([16000, 8000]), lengths, 160, 0)
    assert loud.shape == (2, 101, 1)
    assert loud[0, 27:74].all() and not loud[0, :23].any() and not loud[0, 78:].any()
    assert loud[1, :24].all() and not loud[1, 28:].any()
    assert loud[0].sum() == 51 and loud[1].sum() == 26
    alone = loud_frames(wav[1:, :8000], torch.tensor([8000]), lengths[1:], 160, 0)
    assert torch.equal(alone[0], loud[1, :51])


def test_silence_and_single_frames_have_loud_frames():
    loud = loud_frames(torch.zeros(1, 100), torch.tensor([100]), torch.tensor([1]), 320, 200)
    assert loud.all()


@pytest.mark.parametrize("upstream", ["tera_tiny", "wavlm_tiny"])
def test_speech_gives_the_loud_frames_the_clean_statistics(upstream):
    torch.manual_seed(1)
    model = load_upstream(upstream, "scratch").eval()
    wav = torch.randn(1, 9600) * torch.linspace(0.5, 0.01, 9600)
    lengths = torch.tensor([9600])
    width = model.sites["projection"]
    clean = SiteStats.of(torch.randn(50, width).numpy() * 3 + 1)
    model.set_norm("projection", FeatureNorm(clean, "speech"))
    with torch.inference_mode():
        feats, frames = model.extract(wav, lengths, ["projection"])
    loud = loud_frames(wav, lengths, frames, model.hop, model.offset)[0, :, 0]
    x = feats["projection"][0][loud].double()
    torch.testing.assert_close(x.mean(0), torch.from_numpy(clean.mean), atol=1e-3, rtol=1e-3)
    std = x.std(0, correction=0)
    torch.testing.assert_close(std, torch.from_numpy(clean.std), atol=1e-3, rtol=1e-3)
