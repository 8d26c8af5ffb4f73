"""The separator: one mask, exact in padded batches, started from weights and statistics."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from tiny_models import tiny_config
from torch.overrides import TorchFunctionMode

from featnorm_se.errors import FeatnormError
from featnorm_se.model.head import to_stft_rate
from featnorm_se.model.loss import CompressedSpectrum, LogMagnitudeL1
from featnorm_se.model.separator import FeatNormSeparator, invert_stft
from featnorm_se.names import LEVEL_SITE, NORMS, PRECISIONS
from featnorm_se.statistics import FeatureStats, SiteStats
from featnorm_se.upstream import load_upstream
from featnorm_se.upstream.batching import SILENCE, may_hold_silence


def build(upstream: str = "tera_tiny", norm: str = "utterance", **conf) -> FeatNormSeparator:
    torch.manual_seed(0)
    return FeatNormSeparator(257, **tiny_config(upstream, norm, **conf)["separator_conf"])


def spectra(samples=(6400, 4800)) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    window = torch.hann_window(400)
    parts = [
        torch.stft(torch.randn(n) * 0.1, 512, 160, 400, window, return_complex=True).T
        for n in samples
    ]
    lengths = torch.tensor([len(part) for part in parts])
    return torch.nn.utils.rnn.pad_sequence(parts, batch_first=True), lengths


def fake_stats(separator: FeatNormSeparator) -> FeatureStats:
    rng = np.random.default_rng(0)
    sites = {
        site: SiteStats.of(rng.normal(size=(50, separator.upstream.sites[site])) * 3 + 1)
        for site in separator.norm_sites
    }
    sites[LEVEL_SITE] = SiteStats.of(np.array([[-26.0], [-20.0]]))
    return FeatureStats(sites, {})


@pytest.mark.parametrize("upstream", ["tera_tiny", "wavlm_tiny", "fbank"])
@pytest.mark.parametrize("norm", NORMS)
def test_every_norm_runs_and_trains(upstream, norm):
    separator = build(upstream, norm)
    weights = load_upstream(upstream, "scratch", seed=7).state_dict()
    stats = fake_stats(separator)
    separator.start_from(weights, stats, stats)
    spectrum, lengths = spectra()
    (enhanced,), out_lengths, others = separator.train()(spectrum, lengths)
    assert enhanced.shape == spectrum.shape
    assert torch.equal(out_lengths, lengths)
    mask = others["mask_spk1"]
    assert ((mask >= 0) & (mask <= 1)).all()
    torch.testing.assert_close(enhanced, spectrum * mask)
    enhanced.abs().sum().backward()
    missing = [n for n, p in separator.named_parameters() if p.requires_grad and p.grad is None]
    assert missing == []


def test_level_ignores_the_input_level():
    separator = build("wavlm_tiny", "level", use_spectrum=False)
    separator.start_from(load_upstream("wavlm_tiny", "scratch").state_dict(), fake_stats(separator))
    spectrum, lengths = spectra((6400, 6400))
    with torch.no_grad():
        loud, quiet = (
            separator.eval()(spectrum * gain, lengths)[2]["mask_spk1"] for gain in (1, 0.01)
        )
    torch.testing.assert_close(loud, quiet, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("layer_norm", [False, True])
def test_weighted_sum_takes_every_layer(layer_norm):
    separator = build("wavlm_tiny", "none", feature="weighted_sum", feature_layer_norm=layer_norm)
    spectrum, lengths = spectra()
    separator.train()(spectrum, lengths)[0][0].abs().sum().backward()
    weights = separator.weighted_sum.weight
    assert len(weights) == separator.upstream.num_layers + 1
    assert (weights.grad != 0).all()
    # All weight on the last layer is what feature: last takes.
    last = build("wavlm_tiny", "none")
    last.load_state_dict(
        {k: v for k, v in separator.state_dict().items() if not k.startswith("weighted_sum")}
    )
    if not layer_norm:
        weights.data[-1] = 1000.0
        with torch.no_grad():
            torch.testing.assert_close(
                separator.eval()(spectrum, lengths)[0][0], last.eval()(spectrum, lengths)[0][0]
            )


@pytest.mark.parametrize("feature", ["layer.1", "projection", "frontend"])
@pytest.mark.parametrize("upstream", ["wavlm_tiny", "tera_tiny"])
def test_the_head_may_get_any_site(upstream, feature):
    separator = build(upstream, "none", feature=feature).eval()
    spectrum, lengths = spectra((6400, 6400))
    taken = []
    separator.head.register_forward_pre_hook(lambda _, inputs: taken.append(inputs[0]))
    part = separator.upstream
    with torch.no_grad():
        separator(spectrum, lengths)
        kept, counts = part.extract(*invert_stft(spectrum, lengths, *separator.stft), [feature])
    rates = (part.hop, part.offset, separator.stft[1], spectrum.shape[1])
    torch.testing.assert_close(taken[0], to_stft_rate(kept[feature], counts, *rates))


def test_a_norm_above_what_the_head_gets_is_refused():
    with pytest.raises(FeatnormError, match="norm_site layer.2 lies above separator_conf.f"):
        build("wavlm_tiny", norm_site="frontend,layer.2", feature="layer.1")


def test_a_model_of_a_recipes_own_upstream_is_built_without_the_recipe():
    upstream = load_upstream("tera_tiny", "scratch")
    config = {"family": upstream.family, **upstream.config}
    conf = tiny_config("mine", "none")["separator_conf"]
    separator = FeatNormSeparator(257, **conf, upstream_conf=config)
    assert separator.upstream.sites == upstream.sites


def test_bfloat16_is_for_training_and_close_to_float32(monkeypatch):
    # A CPU that has it not is slow at it, and no other.
    monkeypatch.setattr("featnorm_se.upstream.precision.has_bf16", lambda device: True)
    separator = build("wavlm_tiny", norm="none", upstream_dropout=0.0)
    spectrum, lengths = spectra((6400, 6400))
    masks = {}
    for training in (True, False):
        separator.train(training)
        for separator.precision in PRECISIONS:
            mask = separator(spectrum, lengths)[2]["mask_spk1"].detach()
            masks[training, separator.precision] = mask
    exact = masks[True, "float32"]
    assert masks[True, "bf16"].dtype == torch.float32
    assert 0 < (masks[True, "bf16"] - exact).abs().max() < 0.05
    assert all(torch.equal(masks[True, name], exact) for name in ("auto", "tf32"))
    assert torch.equal(masks[False, "bf16"], masks[False, "float32"])


@pytest.mark.parametrize("upstream", ["wavlm_tiny", "tera_tiny"])
@pytest.mark.parametrize("norm", ["none", "utterance"])
def test_silence_in_a_batch_is_as_alone_and_learns_nothing(upstream, norm):
    separator = build(upstream, norm)
    x = 0.1 * torch.randn(3, 9600)
    x[0, 3200:6400] = 0.0
    x[1] = 0.2
    spectrum = torch.stft(x, 512, 160, 400, torch.hann_window(400), return_complex=True)
    spectrum = spectrum.transpose(1, 2)
    lengths = torch.tensor([61, 61, 41])
    _, _, others = separator(spectrum, lengths)
    mask = others["mask_spk1"]
    assert not mask[0, 23:38].any() and not mask[1].any() and mask[0, 1:19].all()
    for row, n in enumerate(lengths.tolist()):
        alone = separator(spectrum[row : row + 1, :n], lengths[row : row + 1])[2]["mask_spk1"]
        torch.testing.assert_close(mask[row, :n], alone[0], atol=1e-5, rtol=1e-5)
    assert may_hold_silence(x[:1]) and may_hold_silence(x[1:2]) and not may_hold_silence(x[2:])
    separator.has_silence = False  # where that is known it is not looked for, and nothing changes
    unlooked = separator(spectrum[2:], lengths[2:])[2]["mask_spk1"][0, :41]
    torch.testing.assert_close(unlooked, mask[2, :41], atol=1e-5, rtol=1e-5)
    mask[:, :41].sum().backward()
    assert all(p.grad.isfinite().all() for p in separator.parameters() if p.grad is not None)


class Copies(TorchFunctionMode):
    """Counts what is copied to a device, which a recording could not hold."""

    count = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if isinstance(out, torch.Tensor) and out.device.type == "meta":
            moved = func is torch.Tensor.to and args[0].device != out.device
            self.count += moved or func is torch.tensor
        return out


class Quick(torch.nn.Module):
    """In the place of a BLSTM, of which ``meta`` makes thousands of operations."""

    def forward(self, x):
        return x[..., :16], None


@pytest.mark.parametrize(
    ("upstream", "norm"),
    [
        ("tera_tiny", "utterance"),
        ("wavlm_tiny", "mix"),
        ("hubert_tiny", "none"),
        ("fbank", "level"),
    ],
)
def test_a_training_step_reads_and_copies_nothing(upstream, norm, monkeypatch):
    """Nothing can be read from the device ``meta``: item, tolist, nonzero, equal ... all fail."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # meta has none
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda _: False)
    separator = build(upstream, norm).train().to("meta")
    separator.head.blstm = Quick()
    separator.has_silence = False
    spectrum, lengths = spectra((6400, 6400))
    spectrum = spectrum.to("meta")
    separator(spectrum, lengths)  # positions are made once
    with Copies() as copies:
        (enhanced,), _, _ = separator(spectrum, lengths)
        for loss in (LogMagnitudeL1(), CompressedSpectrum()):
            loss(spectrum, enhanced).mean().backward(retain_graph=True)
    assert copies.count == 0
    with pytest.raises(Exception, match="meta"):  # so a reading is seen
        separator(spectrum, lengths.to("meta"))


def test_what_is_recorded_is_the_same_step_each_time():
    separator = build("wavlm_tiny", "utterance", upstream_dropout=0.0).train()
    asked = []
    separator.recorder = lambda compute, x, module: asked.append(module) or compute(x)
    spectrum, lengths = spectra((6400, 6400))
    plain = separator(spectrum, lengths)[2]["mask_spk1"]
    assert not asked  # it may hold silence
    separator.has_silence = False
    torch.testing.assert_close(separator(spectrum, lengths)[2]["mask_spk1"], plain)
    assert asked == [separator]
    separator(spectrum, lengths - torch.tensor([0, 3]))  # padding
    with torch.autocast("cpu", torch.bfloat16):
        separator(spectrum, lengths)
    with torch.autograd.set_detect_anomaly(True):  # it reads each gradient
        separator(spectrum, lengths)
    for name, value in (("gradient_checkpointing", True), ("piece", lambda samples: 3200)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(separator.upstream, name, value)
            separator(spectrum, lengths)
    separator.eval()(spectrum, lengths)
    assert len(asked) == 1
    separator.train()(spectrum, lengths)
    assert len(asked) == 2


@pytest.mark.parametrize("offset", [0.0, 0.5])
def test_what_may_be_silence(offset):
    x = 0.1 * torch.randn(2, 1600) + offset
    block = torch.linspace(-1, 1, 160)
    for deviation, silent in ((0.99, True), (1.05, False)):
        x[1, 320:480] = block / block.std(unbiased=False) * deviation * SILENCE + offset
        assert may_hold_silence(x) == silent
