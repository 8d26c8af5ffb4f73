"""Enhancer: strict loading, and an attenuation limit."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch

from featnorm_se import Enhancer
from featnorm_se.data.audio import resample_blocks
from featnorm_se.errors import FeatnormError


@pytest.mark.parametrize("rate", [16000, 48000])
def test_an_attenuation_limit_leaves_so_much_of_the_input_in(tiny_experiment, rate):
    limited = Enhancer.from_pretrained(tiny_experiment, atten_lim=20.0, high_band="drop")
    x = np.random.default_rng(0).normal(size=(9000, 2)).astype(np.float32) * 0.1
    x -= x.mean(axis=0)
    kept = Enhancer.from_pretrained(tiny_experiment, high_band="drop")(x, rate)
    if rate == 16000:
        np.testing.assert_allclose(limited(x, rate), 0.9 * kept + 0.1 * x, atol=1e-6)
    else:  # what is above 8 kHz is not left in: the model does not hear it
        low = np.concatenate([*resample_blocks(resample_blocks([x], 48000, 16000), 16000, 48000)])
        low = low[: len(x)]
        np.testing.assert_allclose(limited(x, rate), 0.9 * kept + 0.1 * low, atol=1e-5)


def test_it_says_what_it_is(tiny_experiment):
    said = repr(Enhancer.from_pretrained(tiny_experiment))
    assert said == "Enhancer(tera_tiny, norm utterance at projection, on cpu)"


def test_renamed_weights_do_not_load_in_silence(tiny_experiment, tmp_path):
    folder = shutil.copytree(tiny_experiment, tmp_path / "exp")
    path = folder / "valid.loss.best.pth"
    state = torch.load(path, weights_only=True)
    for form in ("{}x", "model.{}"):
        torch.save({form.format(key): value for key, value in state.items()}, path)
        with pytest.raises(FeatnormError, match="do not fit"):
            Enhancer.from_pretrained(folder)


def test_channels_before_samples_are_refused_and_never_guessed(tiny_experiment):
    enhance = Enhancer.from_pretrained(tiny_experiment)
    x = torch.randn(2, 9000) * 0.1
    with pytest.raises(FeatnormError, match=r"9000 channels of 2 samples: give x\.T"):
        enhance(x)
    assert enhance(x.T).shape == (9000, 2)
