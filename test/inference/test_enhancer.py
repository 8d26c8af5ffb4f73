"""Enhancer: strict loading, any rate, any number of channels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from featnorm_se import Enhancer
from featnorm_se.data.audio import resample_blocks
from featnorm_se.errors import FeatnormError


@pytest.fixture(scope="module")
def enhancer(tiny_experiment):
    return Enhancer.from_pretrained(tiny_experiment)


def noise(samples: int, *channels: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(samples, *channels)).astype(np.float32) * 0.1


@pytest.mark.parametrize(
    ("rate", "shape"), [(8000, (7001,)), (16000, (1, 1)), (16000, (511,)), (44100, (7001, 2))]
)
def test_shape_and_rate_are_kept(enhancer, rate, shape):
    y = enhancer(noise(shape[0], *shape[1:]), rate)
    assert y.shape == shape
    assert y.dtype == np.float32
    assert np.isfinite(y).all()
    assert y.any()


def test_channels_are_enhanced_by_themselves(enhancer):
    x = noise(4000, 2)
    y = enhancer(x)
    for channel in range(2):
        np.testing.assert_array_equal(y[:, channel], enhancer(x[:, channel]))


@pytest.mark.parametrize("rate", [16000, 48000])
def test_an_attenuation_limit_leaves_so_much_of_the_input_in(enhancer, tiny_experiment, rate):
    limited = Enhancer.from_pretrained(tiny_experiment, atten_lim=20.0)
    x = noise(9000, 2)
    kept = enhancer(x, rate)
    if rate == 16000:
        np.testing.assert_allclose(limited(x, rate), 0.9 * kept + 0.1 * x, atol=1e-6)
    else:  # what is above 8 kHz is not left in: the model does not hear it
        low = np.concatenate([*resample_blocks(resample_blocks([x], 48000, 16000), 16000, 48000)])
        low = low[: len(x)]
        np.testing.assert_allclose(limited(x, rate), 0.9 * kept + 0.1 * low, atol=1e-5)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros(0), "is wanted, not"),
        (np.zeros((2, 3, 4)), "is wanted, not"),
        (np.full(800, np.nan), "NaN"),
    ],
)
def test_bad_signals_are_named(enhancer, x, message):
    with pytest.raises(FeatnormError, match=message):
        enhancer(x)


def copy_of(source, target):
    target.mkdir()
    for name in ("config.yaml", "valid.loss.best.pth"):
        (target / name).write_bytes((source / name).read_bytes())
    return target


def test_renamed_weights_do_not_load_in_silence(tiny_experiment, tmp_path):
    folder = copy_of(tiny_experiment, tmp_path / "exp")
    path = folder / "valid.loss.best.pth"
    state = torch.load(path, weights_only=True)
    torch.save({f"{key}x": value for key, value in state.items()}, path)
    with pytest.raises(FeatnormError, match="do not fit"):
        Enhancer.from_pretrained(folder)
    torch.save({f"model.{key}": value for key, value in state.items()}, path)
    with pytest.raises(FeatnormError, match="do not fit"):
        Enhancer.from_pretrained(folder)


def test_missing_and_cut_files_are_named(tiny_experiment, tmp_path):
    with pytest.raises(FeatnormError, match=r"no config\.yaml: train first"):
        Enhancer.from_pretrained(tmp_path)
    folder = copy_of(tiny_experiment, tmp_path / "exp")
    path = folder / "valid.loss.best.pth"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(FeatnormError, match="no whole file of weights"):
        Enhancer.from_pretrained(folder)
    path.unlink()
    with pytest.raises(FeatnormError, match=r"holds no valid\.loss\.best\.pth"):
        Enhancer.from_pretrained(folder)
