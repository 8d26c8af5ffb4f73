"""Windows: the plan, cutting and joining, resampling in blocks, and against the whole file."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import save_tiny

from featnorm_se import Enhancer
from featnorm_se.errors import FeatnormError
from featnorm_se.inference.longform import Windowing
from featnorm_se.inference.windows import (
    FADE_SECONDS,
    GRID,
    cut_windows,
    join_windows,
    plan_windows,
)
from featnorm_se.upstream.pieces import Part


def blocks_of(x: np.ndarray, size: int):
    return (x[start : start + size] for start in range(0, len(x), size))


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


@settings(max_examples=60, deadline=None)
@given(
    samples=st.integers(1, 3_000_000),
    seconds=st.floats(4, 30),
    overlap=st.floats(0.6, 2),
)
def test_the_plan_covers_every_sample_once(samples, seconds, overlap):
    plan = plan_windows(samples, seconds, overlap)
    assert plan[0].start == plan[0].own_start == 0
    assert plan[-1].stop == plan[-1].own_stop == samples
    for left, right in zip(plan, plan[1:], strict=False):
        assert left.own_stop == right.own_start
        shared = left.stop - right.start
        assert shared >= int(overlap * 16000) // GRID * GRID
        assert right.start % GRID == 0
        # The cross-fade must lie inside of what both windows have.
        assert right.start <= right.own_start - FADE_SECONDS * 8000
        assert right.own_start + FADE_SECONDS * 8000 <= left.stop
    if len(plan) > 1:
        assert len({window.samples for window in plan[:-1]}) == 1
        assert plan[0].samples <= plan[-1].samples < plan[0].samples + GRID
        assert plan[-1].samples <= seconds * 16000 + GRID


@settings(max_examples=60, deadline=None)
@given(
    samples=st.integers(1, 3_000_000),
    seconds=st.floats(4, 30),
    overlap=st.floats(0.6, 2),
    frames=st.integers(50, 1500),
)
def test_windows_meet_between_the_pieces_that_the_model_cuts(samples, seconds, overlap, frames):
    piece = frames * 160
    plan = plan_windows(samples, seconds, overlap, piece)
    if len(plan) == 1 or piece > (seconds - overlap) * 16000 - GRID:
        return
    assert plan[0].start == plan[0].own_start == 0
    assert plan[-1].stop == plan[-1].own_stop == samples
    for left, right in zip(plan, plan[1:], strict=False):
        assert left.own_stop == right.own_start
        assert right.own_start % piece == 0
        assert right.start % 160 == 0
        for window in (left, right):  # the cross-fade lies inside of what both windows have
            assert window.start <= right.own_start - FADE_SECONDS * 8000
            assert right.own_start + FADE_SECONDS * 8000 <= window.stop
    # A last piece of less than the context goes to the window before it.
    assert max(window.samples for window in plan) <= (seconds + overlap / 2) * 16000 + GRID


def test_bad_windows_are_named():
    for seconds in (0, -1, float("nan"), float("inf")):
        with pytest.raises(FeatnormError, match="--window .*a number of seconds is wanted"):
            plan_windows(100, seconds)
    for seconds, overlap in ((3, 2), (20, 0.1)):
        with pytest.raises(FeatnormError, match="overlap must be longer than"):
            plan_windows(100, seconds, overlap)


@pytest.mark.parametrize("block", [700, 16000, 1_000_000])
def test_joined_windows_are_the_signal_itself(block):
    x = np.random.default_rng(0).normal(size=(200_123, 2)).astype(np.float32)
    plan = plan_windows(len(x), 4, 1)
    assert len(plan) > 3
    windows = cut_windows(blocks_of(x, block), plan)
    np.testing.assert_array_equal(np.concatenate(list(join_windows(windows, plan))), x)


def test_windows_fade_into_each_other():
    plan = plan_windows(100_000, 4, 1)
    steps = [np.full((w.samples, 1), number, np.float32) for number, w in enumerate(plan)]
    y = np.concatenate(list(join_windows(steps, plan)))[:, 0]
    assert len(y) == 100_000
    assert np.abs(np.diff(y)).max() < 1.01 / (FADE_SECONDS * 16000)


def test_a_signal_shorter_than_its_plan_is_told():
    plan = plan_windows(100_000, 4, 1)
    with pytest.raises(FeatnormError, match="ends before"):
        list(cut_windows(iter([np.zeros((90_000, 1), np.float32)]), plan))


@pytest.mark.parametrize("norm", ["utterance", "mix", "instance", "corpus", "level", "none"])
@pytest.mark.parametrize("upstream", ["wavlm_tiny", "wav2vec2_tiny", "tera_tiny", "fbank"])
def test_windows_differ_by_less_than_the_models_own_noise(tmp_path, upstream, norm):
    """The model's own noise: how its output changes when the file begins 5 ms later."""
    enhancer = Enhancer.from_pretrained(save_tiny(tmp_path / "exp", upstream, norm))
    x = speechlike(16)
    whole = enhancer(x, 16000, Windowing(seconds=60))
    inner = slice(1600, -1600)
    later = enhancer(x[80:], 16000, Windowing(seconds=60))[inner]
    noise = decibels(later - whole[80:][inner], whole)
    for stats, bound in (("file", noise + 1.5), ("window", noise + 6)):
        windowed = enhancer(x, 16000, Windowing(6, 3, stats))
        difference = decibels(windowed - whole, whole)
        assert difference < min(bound, -20), (stats, difference, noise)


@pytest.mark.parametrize(
    ("upstream", "norm"),
    [("tera_tiny", "utterance"), ("tera_tiny", "none"), ("mockingjay_tiny", "corpus")],
)
def test_a_model_that_cuts_into_pieces_by_itself_hardly_notices_windows(tmp_path, upstream, norm):
    """Attention and positions of Mockingjay and TERA do not reach beyond a piece."""
    enhancer = Enhancer.from_pretrained(save_tiny(tmp_path / "exp", upstream, norm))
    x = speechlike(19)
    assert enhancer.separator.upstream.piece(len(x))
    whole = enhancer(x, 16000, Windowing(seconds=60))
    for stats, bound in (("file", -45), ("window", -38)):
        windowed = enhancer(x, 16000, Windowing(13, 3, stats))
        assert decibels(windowed - whole, whole) < bound
        assert (windowed != whole).any()
    assert enhancer.separator.upstream.part is None


@pytest.mark.parametrize(
    ("upstream", "norm", "more"),
    [
        ("wavlm_tiny", "utterance", {"plain": True}),
        *(
            (up, norm, {})
            for up in ("wavlm_tiny", "tera_tiny")
            for norm in ("mix", "level", "none")
        ),
        ("wav2vec2_tiny", "utterance", {"norm_site": "frontend,projection,layer.2"}),
        ("tera_tiny", "utterance", {"norm_site": "projection,last"}),
        ("hubert_tiny", "level", {"feature": "weighted_sum", "feature_layer_norm": True}),
        ("fbank", "utterance", {"feature": "weighted_sum"}),
    ],
)
def test_given_statistics_act_as_the_models_own(tmp_path, upstream, norm, more):
    """One window that is the whole file: what is collected and given must change nothing."""
    import torch

    from featnorm_se.inference import longform
    from featnorm_se.inference.file_stats import FileStats

    conf = {key: value for key, value in more.items() if key != "plain"}
    enhancer = Enhancer.from_pretrained(save_tiny(tmp_path / "exp", upstream, norm, **conf))
    enhancer.separator.upstream.fast = "plain" not in more  # or s3prl's own modules
    x = (speechlike(3, channels=2) + np.float32(0.02)) * np.float32([1, 0.02])
    signal = longform.Signal.of(x)
    plan = plan_windows(len(x))
    part = Part(len(x), [], [])
    stats = FileStats(enhancer.separator, longform._wave_stats(signal), part)
    for point in stats.points:
        with torch.inference_mode():
            stats.collect(point, longform._tensors(enhancer, signal, plan))
    given = longform._rows(enhancer, [x], [0], part, stats.given, 2)[0].T
    own = longform._whole(enhancer, x, 2)
    for channel in range(2):
        assert decibels((given - own)[:, channel], own[:, channel]) < -75


@pytest.mark.parametrize("upstream", ["wavlm_tiny", "hubert_tiny", "tera_tiny"])
def test_statistics_of_the_file_are_those_of_the_whole_utterance(tmp_path, upstream):
    """What the passes collect, against one pass over the whole file."""
    import torch

    from featnorm_se.inference.file_stats import FileStats
    from featnorm_se.inference.longform import Signal, _tensors, _wave_stats

    enhancer = Enhancer.from_pretrained(save_tiny(tmp_path / "exp", upstream))
    x = speechlike(9, channels=2) * np.float32([1, 0.02])
    signal = Signal.of(x)
    found = []
    for seconds in (60, 4):
        plan = plan_windows(len(x), seconds, 1.5)
        stats = FileStats(enhancer.separator, _wave_stats(signal), Part(len(x), [], []))
        assert stats.points
        for point in stats.points:
            with torch.inference_mode():
                stats.collect(point, _tensors(enhancer, signal, plan))
        found.append(stats.given.known)
    for name, whole in found[0].items():
        for channel in range(2):
            assert found[1][name][channel].frames == whole[channel].frames
            scale = whole[channel].std.max()
            if name == "projection":
                continue  # TERA's positions begin anew in every window
            difference = found[1][name][channel].mean - whole[channel].mean
            assert np.abs(difference).max() < 2e-4 * scale, name
            assert np.abs(found[1][name][channel].std - whole[channel].std).max() < 2e-4 * scale


def test_the_model_is_left_as_it_was(tmp_path):
    enhancer = Enhancer.from_pretrained(save_tiny(tmp_path / "exp", "wavlm_tiny", "level"))
    x = speechlike(5)
    before = enhancer(x)
    enhancer(speechlike(10, 2), 16000, Windowing(4, 1))
    np.testing.assert_array_equal(enhancer(x), before)


def test_a_batch_of_windows_and_channels_changes_rounding_only(tmp_path):
    enhancer = Enhancer.from_pretrained(save_tiny(tmp_path / "exp", "wavlm_tiny"))
    x = speechlike(17, channels=3) * np.float32([1, 0.1, 0.01])
    one = enhancer(x, 16000, Windowing(4, 1))
    for batch in (2, 3, 8):
        many = enhancer(x, 16000, Windowing(4, 1, batch=batch))
        for channel in range(3):
            assert decibels((many - one)[:, channel], one[:, channel]) < -90


def test_channels_of_a_long_signal_are_enhanced_by_themselves(tmp_path):
    enhancer = Enhancer.from_pretrained(save_tiny(tmp_path / "exp", "wavlm_tiny"))
    x = speechlike(9, channels=2) * np.float32([1, 0.01])
    y = enhancer(x, 16000, Windowing(4, 1))
    for channel in range(2):
        alone = enhancer(x[:, channel], 16000, Windowing(4, 1))
        np.testing.assert_array_equal(y[:, channel], alone)


@pytest.mark.parametrize(
    ("stats", "batch", "told"), [("all", 1, "--stats"), ("file", 0, "--batch")]
)
def test_bad_settings_are_named(stats, batch, told):
    with pytest.raises(FeatnormError, match=told):
        Windowing(stats=stats, batch=batch)
