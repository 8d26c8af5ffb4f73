"""Clean-statistics collection: what numpy finds on the features, whatever the shards."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
import torch

from featnorm_se.bin import collect_stats
from featnorm_se.collection import collect
from featnorm_se.data.scp import read_scp, write_scp
from featnorm_se.errors import FeatnormError
from featnorm_se.names import LEVEL_SITE
from featnorm_se.statistics import FeatureStats
from featnorm_se.upstream import load_upstream


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    rng = np.random.default_rng(0)
    entries = {}
    for index in range(5):
        path = folder / f"u{index}.wav"
        soundfile.write(path, rng.normal(size=4000 + 700 * index) * 0.05, 16000, "PCM_16")
        entries[f"u{index}"] = str(path)
    write_scp(folder / "wav.scp", entries)
    return folder / "wav.scp"


def recomputed(upstream, scp, site: str) -> np.ndarray:
    """Return all frames of a corpus (T, D), without the code under test."""
    frames = []
    for path in read_scp(scp).values():
        wav = torch.from_numpy(soundfile.read(path, dtype="float32")[0])[None]
        with torch.no_grad():
            feats, _ = upstream.extract(wav, torch.tensor([wav.shape[1]]), [site])
        frames.append(feats[site][0].double().numpy())
    return np.concatenate(frames)


@pytest.mark.parametrize("upstream", ["tera_tiny", "wavlm_tiny"])
def test_statistics_are_those_of_all_frames(upstream, corpus):
    model = load_upstream(upstream, "scratch", seed=1)
    sites = ["frontend", "layer.1"]
    stats = collect(model, read_scp(corpus), sites, progress=False)
    for site in sites:
        x = recomputed(model, corpus, site)
        assert stats[site].frames == len(x)
        np.testing.assert_allclose(stats[site].mean, x.mean(0), rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(stats[site].std, x.std(0), rtol=1e-9, atol=1e-12)
    assert stats.meta["identity"] == "scratch:1"
    assert stats.meta["utterances"] == 5
    assert stats[LEVEL_SITE].mean[0] == pytest.approx(20 * np.log10(0.05), abs=0.3)


@pytest.mark.parametrize("shards", [2, 5])
def test_shards_merge_to_the_whole(shards, corpus):
    model = load_upstream("tera_tiny", "scratch")
    entries = read_scp(corpus)
    whole = collect(model, entries, ["projection"], progress=False)
    parts = [
        collect(model, entries, ["projection"], shard=(k, shards), progress=False)
        for k in range(1, shards + 1)
    ]
    merged = FeatureStats.merge_all(reversed(parts))
    np.testing.assert_allclose(merged["projection"].mean, whole["projection"].mean, rtol=1e-9)
    np.testing.assert_allclose(merged["projection"].std, whole["projection"].std, rtol=1e-9)
    assert merged.meta["corpus"] == whole.meta["corpus"]
    assert merged.meta["samples"] == whole.meta["samples"]


def test_normalization_that_is_set_does_not_touch_the_statistics(corpus):
    model = load_upstream("tera_tiny", "scratch")
    plain = collect(model, read_scp(corpus), ["layer.1"], progress=False)

    class Zero(torch.nn.Module):
        def forward(self, x, lengths):
            return x * 0

    model.set_norm("projection", Zero())
    again = collect(model, read_scp(corpus), ["layer.1"], progress=False)
    np.testing.assert_array_equal(plain["layer.1"].mean, again["layer.1"].mean)


def command(corpus, output, *more: str) -> list[str]:
    options = ["--upstream", "tera_tiny", "--upstream_ckpt", "scratch", "--wav_scp", str(corpus)]
    return [*options, "--output", str(output), *more]


def test_a_shard_that_is_there_is_not_collected_again(corpus, tmp_path, capsys):
    output = tmp_path / "shard.npz"
    collect_stats.main(command(corpus, output, "--shard", "1/2"))
    before = output.stat().st_mtime_ns
    assert "3/3 utterances" in capsys.readouterr().err
    collect_stats.main(command(corpus, output, "--shard", "1/2"))
    assert "is there already" in capsys.readouterr().err
    assert output.stat().st_mtime_ns >= before
    collect_stats.main(command(corpus, output, "--shard", "2/2"))
    assert "2/2 utterances" in capsys.readouterr().err


def test_command_merges_what_shards_wrote(corpus, tmp_path):
    parts = [str(tmp_path / f"{k}.npz") for k in (1, 2)]
    for k, part in enumerate(parts, start=1):
        collect_stats.main(command(corpus, part, "--shard", f"{k}/2"))
    collect_stats.main(["--merge", *parts, "--output", str(tmp_path / "all.npz")])
    collect_stats.main(command(corpus, tmp_path / "one.npz"))
    merged, one = (FeatureStats.load(tmp_path / f"{name}.npz") for name in ("all", "one"))
    np.testing.assert_allclose(merged["projection"].std, one["projection"].std, rtol=1e-9)
    assert merged.meta["utterances"] == 5


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--shard", "3/2"], "K/N with 1 <= K <= N"),
        (["--shard", "x"], "K/N with 1 <= K <= N"),
        (["--shard", "9/9"], "shard 9 of 9 has no utterance"),
        (["--nj", "0"], "at least 1"),
        (["--norm_site", "layer.44"], "no site 'layer.44'"),
        (["--upstream", "bert"], "no upstream 'bert'"),
    ],
)
def test_bad_options_are_named(more, told, corpus, tmp_path):
    with pytest.raises(FeatnormError, match=told):
        collect_stats.main(command(corpus, tmp_path / "x.npz", *more))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("samples", "rate", "told"),
    [
        (np.zeros(8000), 16000, "utterance bad .*silent"),
        (np.ones(8000) * 0.1, 8000, "8000 Hz, 16000 Hz is wanted"),
        (np.ones((8000, 2)) * 0.1, 16000, "2 channels"),
    ],
)
def test_bad_audio_is_named(samples, rate, told, tmp_path):
    path = tmp_path / "bad.wav"
    soundfile.write(path, samples, rate)
    model = load_upstream("tera_tiny", "scratch")
    with pytest.raises(FeatnormError, match=told):
        collect(model, {"bad": str(path)}, ["projection"], progress=False)


def test_sites_where_normalization_is_idle_are_said(corpus, tmp_path, capsys):
    # The tiny TERA's log-mels are normalized per utterance, WavLM's features are not.
    for upstream, idle in (("tera_tiny", True), ("wavlm_tiny", False)):
        output = tmp_path / f"{upstream}.npz"
        options = ["--upstream", upstream, "--upstream_ckpt", "scratch", "--wav_scp", str(corpus)]
        collect_stats.main([*options, "--norm_site", "frontend,layer.1", "--output", str(output)])
        told = capsys.readouterr().err
        assert ("note: at frontend every utterance" in told) == idle
        assert "layer.1 every" not in told
        stats = FeatureStats.load(output)
        assert stats.acts("frontend") != idle
        assert stats.acts("layer.1")
    part = str(tmp_path / "tera_tiny.npz")
    collect_stats.main(["--merge", part, "--output", str(tmp_path / "merged.npz")])
    assert "the lowest site where it acts is projection" in capsys.readouterr().err


def test_info_prints_statistics(corpus, tmp_path, capsys):
    from featnorm_se.bin import info

    collect_stats.main(command(corpus, tmp_path / "x.npz", "--norm_site", "projection"))
    capsys.readouterr()
    info.main(["--stats", str(tmp_path / "x.npz")])
    told = capsys.readouterr().out
    assert "identity    scratch:0" in told
    assert "projection         48" in told
    with pytest.raises(FeatnormError, match="run stage 2 first"):
        info.main(["--stats", str(tmp_path / "none.npz")])
