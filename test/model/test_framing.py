"""The STFT's frames, the waveform behind them, the upstream's frames."""

from __future__ import annotations

import pytest
import torch

from featnorm_se.model.head import to_stft_rate
from featnorm_se.model.separator import invert_stft

STFT = (512, 160, 400)


def spectrum(wav: torch.Tensor) -> torch.Tensor:
    window = torch.hann_window(400)
    return torch.stft(wav, 512, 160, 400, window, return_complex=True).transpose(1, 2)


def test_inverse_of_a_padded_batch_is_that_of_each_alone():
    wav = torch.randn(1, 3200)
    short = spectrum(wav[:, :1600])
    batch = torch.zeros(2, 21, 257, dtype=torch.complex64)
    batch[0], batch[1, :11] = spectrum(wav)[0], short[0]
    back, lengths = invert_stft(batch, torch.tensor([21, 11]), *STFT)
    alone, _ = invert_stft(short, torch.tensor([11]), *STFT)
    assert lengths.tolist() == [3200, 1600]
    torch.testing.assert_close(back[0], wav[0], atol=1e-5, rtol=1e-4)
    assert torch.equal(back[1, :1600], alone[0])
    assert back[1, 1600:].abs().max() == 0


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
