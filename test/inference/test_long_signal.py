"""Windows: the plan, cutting and joining, and the result beside the whole signal's."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import save_tiny

from featnorm_se import Enhancer
from featnorm_se.inference import together
from featnorm_se.inference.jobs import Job, enhance_file
from featnorm_se.inference.long_signal import TURN, Signal, enhance_windows, without_offset
from featnorm_se.inference.windows import (
    FADE_SECONDS,
    GRID,
    Windowing,
    cut_windows,
    join_windows,
    plan_windows,
)


def decibels(a: np.ndarray, b: np.ndarray) -> float:
    power = [float(np.square(v, dtype=np.float64).sum()) for v in (a, b)]
    return 10 * np.log10(max(power[0], 1e-30) / power[1])


def speechlike(seconds: float, channels: int = 1) -> np.ndarray:
    """Noise whose level and colour change a few times a second, as speech's do."""
    rng = np.random.default_rng(3)
    n = int(seconds * 16000)
    level = np.interp(np.arange(n), np.arange(0, n, 4000), rng.uniform(0.01, 0.3, -(-n // 4000)))
    x = rng.normal(size=(n, channels))
    x[1:] += 0.9 * x[:-1] * (np.arange(n - 1)[:, None] % 24000 < 9000)
    return (x * level[:, None] * 0.3).astype(np.float32)


@settings(max_examples=100, deadline=None)
@given(
    samples=st.integers(1, 3_000_000),
    seconds=st.floats(4, 30),
    overlap=st.floats(0.6, 2),
    frames=st.one_of(st.just(0), st.integers(50, 1500)),
)
def test_the_plan_covers_every_sample_once(samples, seconds, overlap, frames):
    piece = frames * 160
    plan = plan_windows(samples, Windowing(seconds, overlap), piece)
    assert plan[0].start == plan[0].own_start == 0
    assert plan[-1].stop == plan[-1].own_stop == samples
    assert max(window.stop - window.start for window in plan) <= seconds * 16000
    on_pieces = piece and all(window.own_stop % piece == 0 for window in plan[:-1])
    for left, right in zip(plan, plan[1:], strict=False):
        assert left.own_stop == right.own_start
        assert right.start % (160 if on_pieces else GRID) == 0
        # The cross-fade must lie inside of what both windows have.
        assert right.start <= right.own_start - FADE_SECONDS * 8000
        assert right.own_start + FADE_SECONDS * 8000 <= left.stop
    for left, right in zip(plan[:-1], plan[1:-1], strict=False):
        assert left.stop - right.start >= int(overlap * 16000)
    assert on_pieces or piece == 0 or piece > (seconds - overlap) * 16000 - 2 * GRID


@pytest.mark.parametrize("block", [700, 16000, 1_000_000])
def test_joined_windows_are_the_signal_itself(block):
    x = np.random.default_rng(0).normal(size=(200_123, 2)).astype(np.float32)
    plan = plan_windows(len(x), Windowing(4, 1))
    assert len(plan) > 3
    blocks = (x[start : start + block] for start in range(0, len(x), block))
    windows = cut_windows(blocks, plan)
    np.testing.assert_array_equal(np.concatenate(list(join_windows(windows, plan))), x)


def test_windows_fade_into_each_other():
    plan = plan_windows(100_000, Windowing(4, 1))
    steps = [np.full((w.stop - w.start, 1), number, np.float32) for number, w in enumerate(plan)]
    y = np.concatenate(list(join_windows(steps, plan)))[:, 0]
    assert len(y) == 100_000
    assert np.abs(np.diff(y)).max() < 1.01 / (FADE_SECONDS * 16000)


@pytest.mark.parametrize(
    ("upstream", "norm", "sites"),
    [
        *(("wavlm_tiny", norm, "auto") for norm in ("utterance", "level")),
        *(("tera_tiny", norm, "auto") for norm in ("mix", "none")),
        ("mockingjay_tiny", "corpus", "auto"),
        ("wav2vec2_tiny", "utterance", "frontend,projection,layer.2"),
        ("tera_tiny", "utterance", "projection,last"),
        ("fbank", "utterance", "auto"),
    ],
)
def test_windows_differ_by_less_than_the_models_own_noise(tmp_path, upstream, norm, sites):
    """The model's own noise: how its output changes when the file begins 5 ms later."""
    folder = save_tiny(tmp_path / "exp", upstream, norm, norm_site=sites)
    enhancer = Enhancer.from_pretrained(folder)
    x = speechlike(19)
    whole = enhancer(x, 16000, Windowing(60))
    inner = slice(1600, -1600)
    later = enhancer(x[80:], 16000, Windowing(60))[inner]
    noise = decibels(later - whole[80:][inner], whole)
    for stats in ("file", "window"):
        windowed = enhancer(x, 16000, Windowing(13, 3, stats))
        assert (windowed != whole).any()
        assert decibels(windowed - whole, whole) < min(noise, -20), stats


@pytest.mark.parametrize(
    ("upstream", "sites"),
    [("wavlm_tiny", "frontend,layer.1"), ("tera_tiny", "projection,last"), ("fbank", "auto")],
)
def test_given_statistics_act_as_the_models_own(tmp_path, upstream, sites):
    """One window that is the whole file: what is collected and given must change nothing."""
    folder = save_tiny(tmp_path / "exp", upstream, norm_site=sites)
    enhancer = Enhancer.from_pretrained(folder)
    signal = without_offset(Signal.of(speechlike(3, channels=2) * np.float32([1, 0.02])))
    plan = plan_windows(signal.samples, Windowing())
    given, own = (
        next(enhance_windows(enhancer, signal, plan, Windowing(stats=stats, batch=2)))
        for stats in ("file", "window")
    )
    for channel in range(2):
        assert decibels((given - own)[:, channel], own[:, channel]) < -75


def test_statistics_of_a_file_count_every_frame_once(tmp_path):
    """The log-mels of fbank feel a window's edge in a frame or two only."""
    enhancer = Enhancer.from_pretrained(save_tiny(tmp_path / "exp", "fbank"))
    norm = enhancer.separator.upstream.norms["frontend"]
    x = speechlike(9)
    seen = []
    norm.register_forward_hook(lambda module, *_: seen.append(module.given))
    enhancer(x, 16000, Windowing(4, 1))
    mean, std = (value[0, 0].numpy() for value in seen[-1])
    kept = []
    norm.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0][0].numpy()))
    enhancer(x)
    np.testing.assert_allclose(mean, kept[0].mean(0), atol=0.01)
    np.testing.assert_allclose(std, kept[0].std(0), atol=0.01)


def test_the_model_is_left_as_it_was_even_when_it_fails(tmp_path, monkeypatch):
    enhancer = Enhancer.from_pretrained(save_tiny(tmp_path / "exp", "wavlm_tiny"))
    x = speechlike(10, 2)
    before = enhancer(x[:50_000])
    enhancer(x, 16000, Windowing(4, 1))
    upstream = enhancer.separator.upstream

    def fail(*_):
        assert upstream.part is not None and upstream.norms["frontend"].given is not None
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(enhancer, "decoder", fail)
        with pytest.raises(MemoryError):
            enhancer(x, 16000, Windowing(4, 1))
    assert upstream.part is None and upstream.norms["frontend"].given is None
    np.testing.assert_array_equal(enhancer(x[:50_000]), before)


def test_channels_are_enhanced_by_themselves_and_batches_change_rounding_only(tmp_path):
    enhancer = Enhancer.from_pretrained(save_tiny(tmp_path / "exp", "wavlm_tiny"))
    x = speechlike(17, channels=3) * np.float32([1, 0.1, 1e-4])
    one = enhancer(x, 16000, Windowing(4, 1))
    np.testing.assert_array_equal(one[:, 1], enhancer(x[:, 1], 16000, Windowing(4, 1)))
    for batch in (2, 8):
        many = enhancer(x, 16000, Windowing(4, 1, batch=batch))
        for channel in range(3):
            assert decibels((many - one)[:, channel], one[:, channel]) < -90
    with ThreadPoolExecutor(3) as pool:  # threads that share a model take turns
        apart = pool.map(lambda row: enhancer(row, 16000, Windowing(4, 1)), x.T)
        np.testing.assert_array_equal(np.stack([*apart], axis=1), one)
    turns: list[bool] = []  # what sets the model for its own signal holds that lock
    enhancer.separator.register_forward_pre_hook(lambda *_: turns.append(TURN._is_owned()))
    enhancer.enhance([torch.from_numpy(x[:16000, 0])])
    assert turns == [True]


# Mockingjay goes in pieces of 5 s of what is no silence.
@pytest.mark.parametrize("upstream", ["wavlm_tiny", "mockingjay_tiny"])
def test_signals_together_are_as_each_alone(upstream, tmp_path, monkeypatch):
    # As on a GPU. Each channel has its own limit of silence there, too.
    monkeypatch.setattr(together, "like_lengths", lambda sizes, _: [list(range(len(sizes)))])
    enhancer = Enhancer.from_pretrained(save_tiny(tmp_path / "exp", upstream))
    signals = [speechlike(2, channels=2) * np.float32([1, 1e-4]), 1e-3 * speechlike(1)]
    signals.append(speechlike(8))
    signals[-1][32000:80000] = 0
    done = together.enhance_signals(enhancer, [*map(Signal.of, signals)], Windowing())
    for number, pieces in done:
        assert isinstance(pieces, list), "one by one"
        for found, x in zip(np.concatenate(pieces).T, signals[number].T, strict=True):
            alone = enhancer(x, 16000)
            assert decibels(found - alone, alone) < -60


def test_what_takes_two_windows_alone_takes_two_together(tmp_path, monkeypatch):
    """A window is a multiple of 20 ms, whatever is asked for."""
    monkeypatch.setattr(together, "like_lengths", lambda sizes, _: [list(range(len(sizes)))])
    enhancer = Enhancer.from_pretrained(save_tiny(tmp_path / "exp", "fbank"))
    signals, how = [Signal.of(speechlike(6.009))] * 2, Windowing(6.01, 1.0)
    assert len(plan_windows(signals[0].samples, how)) == 2
    for _, pieces in together.enhance_signals(enhancer, signals, how):
        assert not isinstance(pieces, list)


@pytest.mark.parametrize("upstream", ["wavlm_tiny", "tera_tiny", "fbank"])
@pytest.mark.parametrize("seconds, silent", [(3, 2), (9, 30)])
def test_silence_and_a_constant_offset_change_nothing(upstream, seconds, silent, tmp_path):
    enhance = Enhancer.from_pretrained(save_tiny(tmp_path / "exp", upstream))
    how = Windowing(6.0, 1.0)
    x = speechlike(seconds)[:, 0]
    wanted = enhance(x, windowing=how)
    mute = np.zeros(silent * 16000, np.float32)
    for at in (0, len(x), len(x) // 320 * 160):
        y = enhance(np.concatenate([x[:at], mute, x[at:]]) + 0.2, windowing=how)
        assert not y[at + 800 : at + len(mute) - 800].any(), "silence stays silence"
        kept = np.concatenate([y[:at], y[at + len(mute) :]])
        assert decibels(kept - wanted, wanted) < -25, at


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_the_zeros_of_a_mute_are_none_of_the_recordings_offset(rate, tmp_path) -> None:
    folder = save_tiny(tmp_path / "exp", "tera_tiny")
    speech = speechlike(3 * rate / 16000)[:, 0]
    mute = slice(rate + 5, 2 * rate + 5)
    recorded = speech + np.float32(0.05)
    recorded[mute] = 0
    for limit in (None, 20.0):
        enhance = Enhancer.from_pretrained(folder, atten_lim=limit)
        inside = enhance(recorded, rate)[mute][rate // 20 : -rate // 20]
        assert np.abs(inside).max() < 1e-4 * (rate != 16000) + 1e-9


def test_a_file_and_an_array_are_enhanced_alike(tmp_path) -> None:
    enhance = Enhancer.from_pretrained(save_tiny(tmp_path / "exp", "tera_tiny"))
    speech = speechlike(9)[:, 0]
    recorded = speech + np.float32(0.05)
    recorded[60000:70000] = 0  # the blocks that files are read in end within
    (tmp_path / "x").mkdir()
    for name, y in (("one", recorded), ("two", np.stack([recorded, speech], 1))):
        soundfile.write(tmp_path / "x" / f"{name}.wav", y, 16000, "FLOAT")
        enhance_file(enhance, Job(tmp_path / "x" / f"{name}.wav", tmp_path / f"{name}.wav"))
        written = soundfile.read(tmp_path / f"{name}.wav", dtype="float32")[0]
        np.testing.assert_array_equal(written, enhance(y))


def test_dither_is_silence_and_a_quiet_recording_is_not(tmp_path) -> None:
    enhance = Enhancer.from_pretrained(save_tiny(tmp_path / "exp", "tera_tiny"))
    how, x = Windowing(6.0, 1.0), speechlike(9)[:, 0]
    wanted = enhance(x, windowing=how)
    dither = np.random.default_rng(0).normal(size=30 * 16000).astype(np.float32) * 1.2 * 2.0**-15
    y = enhance(np.concatenate([dither, x]), windowing=how)[len(dither) :]
    assert decibels(y - wanted, wanted) < -25
    quiet = enhance(1e-4 * x, windowing=how) * 1e4
    assert decibels(quiet, wanted) > -3
