"""Enhancer: strict loading, an attenuation limit; the model inside the package."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from featnorm_se import Enhancer
from featnorm_se.data.audio import read_audio, resample_blocks
from featnorm_se.errors import FeatnormError
from featnorm_se.inference.model_file import SHIPPED, read_model
from featnorm_se.metrics import score_pair


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


def test_renamed_weights_do_not_load_in_silence(tiny_experiment, tmp_path):
    folder = shutil.copytree(tiny_experiment, tmp_path / "exp")
    path = folder / "valid.loss.best.pth"
    state = torch.load(path, weights_only=True)
    for form in ("{}x", "model.{}"):
        torch.save({form.format(key): value for key, value in state.items()}, path)
        with pytest.raises(FeatnormError, match="do not fit") as error:
            Enhancer.from_pretrained(folder)
        assert len(str(error.value)) < 300
    # ESPnet's links lead to epochs' files, which somebody has removed to make room: no others are
    # taken in their place.
    shutil.copy(path, folder / "valid.loss.ave.pth")
    path.unlink()
    path.symlink_to("2epoch.pth")
    for name in (None, path.name):
        with pytest.raises(FeatnormError, match="best.pth leads to no file"):
            Enhancer.from_pretrained(folder, model_file=name)


def test_a_model_of_nan_or_of_two_stfts_enhances_nothing(tiny_experiment):
    config, weights = read_model(tiny_experiment)
    bad = {**weights, "separator.head.mask.bias": weights["separator.head.mask.bias"] * np.nan}
    with pytest.raises(FeatnormError, match=r"hold NaN or inf \(head.mask.bias\)"):
        Enhancer(config, bad)
    parts = ("encoder_conf", "separator_conf", "decoder_conf")
    changes = [({part}, key, 80) for part in parts for key in ("hop_length", "win_length")]
    changes += [({*parts}, key, n) for key in ("hop_length", "win_length") for n in (0, 513, "400")]
    for chosen, key, value in changes:
        edited = {part: {**config[part], key: value} for part in chosen}
        with pytest.raises(FeatnormError, match="one plain STFT is needed|hop_length < win_length"):
            Enhancer({**config, **edited}, weights)


def test_channels_before_samples_are_refused_and_never_guessed(tiny_experiment):
    state = torch.get_rng_state()
    enhance = Enhancer.from_pretrained(tiny_experiment)
    assert torch.equal(state, torch.get_rng_state())  # between two epochs, say
    x = torch.randn(2, 9000) * 0.1
    with pytest.raises(FeatnormError, match=r"9000 channels of 2 samples: give x\.T"):
        enhance(x)
    assert enhance(x.T).shape == (9000, 2)


@pytest.mark.parametrize("kind", [np.int16, np.complex64])
def test_a_rate_may_be_a_float_and_samples_no_integers(tiny_experiment, kind):
    enhance = Enhancer.from_pretrained(tiny_experiment, device=torch.device("cpu"))
    x = np.random.default_rng(0).normal(size=9000) * 0.1
    np.testing.assert_array_equal(enhance(x, 44100.0), enhance(x, 44100))
    with pytest.raises(FeatnormError, match=rf"are {kind.__name__}: floats in \[-1, 1\]"):
        enhance((x * 32768).astype(kind))
    with pytest.raises(FeatnormError, match=r"samples reach 1\d{4}.*, full scale is 1: div"):
        enhance(x * 32768)
    half = torch.tensor(x, dtype=torch.bfloat16)
    np.testing.assert_array_equal(enhance(half), enhance(half.float()))


# ---- the model inside the package

PAIRS = Path(__file__).parents[3] / "shared" / "data" / "voicebank_demand_p257_16k"
shipped = pytest.mark.skipif(not SHIPPED.is_file(), reason="no model is shipped yet")


@shipped
@pytest.mark.skipif(not PAIRS.is_dir(), reason="no recordings here")
def test_the_shipped_model_makes_real_recordings_better():
    enhance = Enhancer.from_pretrained()
    gains = []
    # Conditions come round by fours: a step that four divides would meet one SNR only.
    for path in sorted((PAIRS / "noisy").iterdir())[::46]:
        clean, noisy = read_audio(PAIRS / "clean" / path.name), read_audio(path)
        before, after = (
            score_pair(clean, x, metrics=["PESQ_WB", "SI_SDR"]) for x in (noisy, enhance(noisy))
        )
        gains.append([after[name] - before[name] for name in ("PESQ_WB", "SI_SDR")])
    assert len(gains) >= 8
    pesq, si_sdr = np.mean(gains, axis=0)
    assert pesq > 0.2 and si_sdr > 2, f"PESQ_WB {pesq:+.3f}, SI_SDR {si_sdr:+.2f} dB"


def test_an_outer_autocast_changes_nothing(tiny_experiment):
    enhance = Enhancer.from_pretrained(tiny_experiment)
    x = np.random.default_rng(0).normal(size=8000).astype(np.float32) * 0.1
    with torch.autocast("cpu", torch.bfloat16):
        y = enhance(x)
    np.testing.assert_array_equal(y, enhance(x))
