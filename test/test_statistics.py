"""FeatureStats: merged exactly, saved with their origin, refused when they do not fit."""

import json

import numpy as np
import pytest

from featnorm_se.errors import FeatnormError
from featnorm_se.statistics import FeatureStats, SiteStats

META = {"kind": "clean", "upstream": "tera_tiny", "identity": "scratch:0", "sample_rate": 16000}
META |= {"corpus": f"{5:064x}", "utterances": 2, "samples": 100}


def features() -> np.ndarray:
    rng = np.random.default_rng(0)
    # A mean far from zero: the sum of squares alone would lose the deviation.
    return rng.normal(size=(4000, 5)) * 0.01 + 1000


def test_shards_agree_with_numpy():
    shards = 3
    x = features()
    order = np.random.default_rng(shards).permutation(len(x))
    merged = SiteStats.of(x[order[0::shards]])
    for k in range(1, shards):
        merged = SiteStats.of(x[order[k::shards]]).merge(merged)
    merged = merged.merge(SiteStats.of(x[:0]))  # nothing changes nothing
    assert merged.frames == len(x)
    np.testing.assert_allclose(merged.mean, x.mean(0), rtol=1e-9)
    np.testing.assert_allclose(merged.std, x.std(0), rtol=1e-9)
    for odd in (x[None], x * np.nan):  # a batch, as an upstream gives it
        with pytest.raises(FeatnormError, match=r"features \(T, D\) without NaN are wanted"):
            SiteStats.of(odd)
    with pytest.raises(FeatnormError, match="cannot merge widths 5 and 1"):
        merged.merge(SiteStats.of(x[:, :1]))


def stats(**meta) -> FeatureStats:
    sites = {"frontend": SiteStats.of(features()), "layer.2": SiteStats.of(features()[:, :3])}
    return FeatureStats(sites, {**META, **meta})


def test_save_and_load(tmp_path):
    path = tmp_path / "new" / "clean.npz"
    stats().save(path)
    back = FeatureStats.load(path)
    assert list(back.sites) == ["frontend", "layer.2"]
    np.testing.assert_array_equal(back["frontend"].m2, stats()["frontend"].m2)
    assert back["layer.2"].frames == 4000
    assert back.meta["identity"] == "scratch:0"
    assert [p.name for p in path.parent.iterdir()] == ["clean.npz"]


def test_statistics_of_other_weights_or_speech_are_not_merged():
    with pytest.raises(FeatnormError, match="identity 'scratch:0' and 'scratch:1'"):
        stats().merge(stats(identity="scratch:1"))
    with pytest.raises(FeatnormError, match="kind 'clean' and 'noisy'"):
        stats().merge(stats(kind="noisy"))


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"identity": "sha256:abc"}, "x.npz: .*identity 'scratch:0', this run 'sha256:abc'"),
        ({"kind": "noisy"}, "kind 'clean', this run 'noisy'"),
        ({"sites": {"frontend": 512}}, "the width of frontend 5, this run 512"),
        ({"sites": {"projection": 5}}, "no statistics for the site 'projection'"),
    ],
)
def test_statistics_of_something_else_are_refused(wanted, message):
    fits = {"identity": "scratch:0", "sites": {"frontend": 5}, "kind": "clean"}
    stats().check("x.npz", **fits)
    with pytest.raises(FeatnormError, match=message):
        stats().check("x.npz", **{**fits, **wanted})
    with pytest.raises(FeatnormError, match="x.npz is of one shard"):
        stats(shard=[1, 3]).check("x.npz", **fits)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("frontend/m2", -np.ones(5), "values that cannot be"),
        ("layer.2/frames", np.int64(0), "0 frames"),
        ("frontend/mean", np.array([{}], dtype=object), "stats.npz .*allow_pickle=False"),
        ("meta", np.array(json.dumps({"format": 9})), "format 9"),
    ],
)
def test_damaged_files_are_refused(tmp_path, name, value, message):
    path = tmp_path / "stats.npz"
    stats().save(path)
    with np.load(path) as archive:
        arrays = dict(archive)
    np.savez(path, **{**arrays, name: value})
    with pytest.raises(FeatnormError, match=message):
        FeatureStats.load(path)
