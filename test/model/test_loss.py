"""The training losses, where there is no sound too; the STFT's frames and the upstream's."""

import numpy as np
import pytest
import torch
from pesq import pesq

from featnorm_se.model.head import to_stft_rate
from featnorm_se.model.loss import CompressedSpectrum, LogMagnitudeL1, ValidPesq


def spectra(scale=1.0):
    generator = torch.Generator().manual_seed(3)
    draw = torch.randn(2, 4, 7, 5, dtype=torch.complex64, generator=generator)
    return scale * draw[0], scale * draw[1]


@pytest.mark.parametrize(
    "power, weight, asymmetry", [(0.3, 0.3, 0.0), (0.5, 0.0, 0.0), (0.3, 1.0, 2.0)]
)
def test_compressed_spectra_are_compared_by_the_formula(power, weight, asymmetry):
    clean, enhanced = spectra()
    loss = CompressedSpectrum(power=power, complex_weight=weight, asymmetry=asymmetry)
    s, x = clean.numpy(), enhanced.numpy()
    less = np.abs(x) ** power - np.abs(s) ** power
    phased = np.abs(x) ** power * np.exp(1j * np.angle(x)) - np.abs(s) ** power * np.exp(
        1j * np.angle(s)
    )
    wanted = (
        (1 - weight) * less**2
        + weight * np.abs(phased) ** 2
        + asymmetry * np.maximum(-less, 0) ** 2
    )
    np.testing.assert_allclose(loss(clean, enhanced), wanted.mean(axis=(1, 2)), rtol=1e-4)
    assert (loss(clean, clean) == 0).all() and loss.name == "compressed_spectrum"


def test_log_magnitudes_are_compared_by_the_formula():
    clean, enhanced = spectra()
    s, x = (np.log1p(20.0 * np.abs(y.numpy())) / np.log1p(20.0) for y in (clean, enhanced))
    loss = LogMagnitudeL1(scale=20.0)(clean, enhanced)
    np.testing.assert_allclose(loss, np.abs(x - s).mean(axis=(1, 2)), rtol=1e-4)


@pytest.mark.parametrize(
    "loss", [CompressedSpectrum(), CompressedSpectrum(asymmetry=1.0), LogMagnitudeL1()]
)
@pytest.mark.parametrize("scale", [0.0, 1e-12, 1e-3])
def test_gradients_are_finite_where_there_is_next_to_no_sound(loss, scale):
    clean, enhanced = spectra(scale)
    enhanced.requires_grad_()
    loss(clean, enhanced).sum().backward()
    assert torch.isfinite(torch.view_as_real(enhanced.grad)).all()
    assert torch.view_as_real(enhanced.grad).abs().max() < 100


def test_pesq_of_validation_is_each_utterance_s_own_and_never_crashes():
    bursts = np.random.default_rng(0).normal(0, 0.1, (3, 16000 * 60)).astype(np.float32)
    bursts *= np.arange(16000 * 60) % 9600 < 4800  # 100 stretches of 0.3 s: PESQ would crash
    clean = torch.from_numpy(bursts)
    clean[1, 40000:] = 0.0  # padding
    clean[2] = 0.0
    enhanced = clean + 0.05 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    found = ValidPesq()(clean, enhanced)
    for row, size in ((0, 20 * 16000), (1, 40000)):
        pair = (x[row, :size].numpy() for x in (clean, enhanced))
        assert found[row] == pytest.approx(pesq(16000, *pair, "wb"), abs=1e-6)
    assert found[2] == 1.0
    with pytest.warns(RuntimeWarning):
        assert ValidPesq()(clean, 0 * enhanced).tolist() == [1.0] * 3


# ---- frames


@pytest.mark.parametrize(("hop", "offset"), [(160, 0), (320, 200), (320, 0), (80, 40)])
def test_every_frame_comes_out_at_its_own_time(hop, offset):
    samples = 16000
    count = (samples - 400) // hop + 1
    # A feature that says its own time must say the STFT frame's time after interpolation.
    times = (torch.arange(count) * hop + offset).float()[None, :, None]
    frames = samples // 160 + 1
    y = to_stft_rate(times, torch.tensor([count]), hop, offset, 160, frames)[0, :, 0]
    expected = (torch.arange(frames) * 160).float().clamp(offset, (count - 1) * hop + offset)
    torch.testing.assert_close(y, expected, atol=0.01, rtol=0)
