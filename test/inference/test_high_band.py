"""What lies above 8 kHz: kept as far as the model keeps 4 to 8 kHz, or dropped."""

import numpy as np
import pytest
import soundfile
from tiny_models import save_tiny

from featnorm_se import Enhancer
from featnorm_se.bin import enhance
from featnorm_se.inference.windows import Windowing


def band(x: np.ndarray, rate: int, low: float, high: float) -> float:
    power = np.abs(np.fft.rfft(x, axis=0)) ** 2
    at = np.fft.rfftfreq(len(x), 1 / rate)
    return float(power[(at >= low) & (at < high)].sum())


def noisy(rate: int, seconds: float = 2.0, channels: int = 2) -> np.ndarray:
    x = np.random.default_rng(1).normal(size=(int(seconds * rate), channels)) * 0.05
    return (x - x.mean(axis=0)).astype(np.float32)


@pytest.mark.parametrize("rate", [22050, 44100, 48000, 96000])
def test_a_model_that_takes_nothing_away_changes_nothing(tiny_experiment, rate):
    enhancer = Enhancer.from_pretrained(tiny_experiment, atten_lim=1e-6)
    x = noisy(rate, 1.3)
    y = enhancer(x, rate)
    # At the very ends the resampler, and within 10 ms the STFT, see what is beyond them.
    inner = slice(rate // 50, -rate // 50)
    assert y.shape == x.shape
    np.testing.assert_allclose(y[inner], x[inner], atol=2e-4)


@pytest.mark.parametrize("frames", [1, 300, 1200, 1700])
def test_a_file_of_some_milliseconds_comes_back(tiny_experiment, frames):
    """The resampler gives nothing for its first block."""
    x = noisy(48000)[:frames, 0]
    y = Enhancer.from_pretrained(tiny_experiment)(x, 48000)
    assert y.shape == x.shape and np.isfinite(y).all()


def test_it_follows_the_models_gain_and_leaves_the_low_band_alone(tiny_experiment):
    x = noisy(48000)
    kept, dropped = (
        Enhancer.from_pretrained(tiny_experiment, high_band=how)(x, 48000)
        for how in ("keep", "drop")
    )
    low, top = (7000, 23000)
    assert band(kept - dropped, 48000, 0, low) < 1e-5 * band(dropped, 48000, 0, low)
    gain = band(dropped, 48000, 4500, 7500) / band(x, 48000, 4500, 7500)
    above = band(kept, 48000, 9000, top) / band(x, 48000, 9000, top)
    assert above == pytest.approx(gain, rel=0.1) and gain < 0.9
    assert band(dropped, 48000, 9000, top) < 1e-6 * band(x, 48000, 9000, top)


def test_a_long_file_by_the_command_is_as_in_memory(tmp_path):
    exp = save_tiny(tmp_path / "exp", "tera_tiny")
    x = noisy(44100, 11.0)
    x[44100:88200] = 0.0
    soundfile.write(tmp_path / "a.wav", x, 44100, subtype="FLOAT")
    command = [str(tmp_path / "a.wav"), "-o", str(tmp_path / "b.wav"), "--model", str(exp)]
    enhance.main([*command, "--window", "7", "--save_noise"])
    y, noise = (soundfile.read(tmp_path / f"b{end}.wav")[0] for end in ("", ".noise"))
    wanted = Enhancer.from_pretrained(exp)(x, 44100, Windowing(7.0))
    np.testing.assert_allclose(y, wanted, atol=1e-5)
    np.testing.assert_allclose(y + noise, x, atol=1e-6)
    assert np.abs(y[44100 + 2000 : 88200 - 2000]).max() < 1e-9
    enhance.main([*command[:2], str(tmp_path / "c.wav"), *command[3:], "--high_band", "drop"])
    assert band(soundfile.read(tmp_path / "c.wav")[0], 44100, 9000, 22050) < 1e-3 * band(
        y, 44100, 9000, 22050
    )
