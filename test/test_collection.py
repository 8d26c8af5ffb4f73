"""Clean-statistics collection: what numpy finds on the features, whatever the shards."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from forked import fork_command

from featnorm_se import collection
from featnorm_se.bin import collect_stats
from featnorm_se.collection import collect
from featnorm_se.data.scp import read_scp, write_scp
from featnorm_se.errors import FeatnormError
from featnorm_se.names import LEVEL_SITE
from featnorm_se.statistics import FeatureStats
from featnorm_se.upstream import load_upstream, upstream_card
from featnorm_se.upstream.batching import like_lengths


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
            feats, _ = upstream.extract(
                wav, torch.tensor([wav.shape[1]]), [site], apply_norms=False
            )
        frames.append(feats[site][0].double().numpy())
    return np.concatenate(frames)


class Zero(torch.nn.Module):
    def forward(self, x, lengths):
        return x * 0


@pytest.mark.parametrize("upstream", ["tera_tiny", "wavlm_tiny"])
def test_statistics_are_those_of_all_frames(upstream, corpus):
    model = load_upstream(upstream, "scratch", seed=1)
    sites = ["frontend", "layer.1"]
    model.set_norm("projection", Zero())  # a norm that is set is left off
    stats = collect(model, read_scp(corpus), sites)
    plain = load_upstream(upstream, "scratch", seed=1)
    for site in sites:
        x = recomputed(plain, corpus, site)
        assert stats[site].frames == len(x)
        np.testing.assert_allclose(stats[site].mean, x.mean(0), rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(stats[site].std, x.std(0), rtol=1e-9, atol=1e-12)
    assert stats.meta["identity"] == "scratch:1"
    assert stats.meta["utterances"] == 5
    assert stats[LEVEL_SITE].mean[0] == pytest.approx(20 * np.log10(0.05), abs=0.3)


@pytest.mark.parametrize("upstream", ["tera_tiny", "wavlm_tiny", "hubert_tiny", "fbank"])
def test_files_together_have_the_statistics_of_one_by_one(upstream, corpus, monkeypatch):
    """As on a GPU, of models with a group norm too."""
    entries, found = read_scp(corpus), []
    for device in ("cpu", "cuda"):
        monkeypatch.setattr(
            collection, "like_lengths", lambda n, _, d=device: like_lengths(n, torch.device(d))
        )
        model = load_upstream(upstream, "scratch", seed=1)
        found.append(collect(model, entries, list(model.sites)))
    alone, together = found
    assert alone.meta == together.meta
    for site in alone.sites:
        assert alone[site].frames == together[site].frames
        least = 1e-5 * alone[site].std.max()
        np.testing.assert_allclose(together[site].mean, alone[site].mean, rtol=1e-5, atol=least)
        np.testing.assert_allclose(together[site].std, alone[site].std, rtol=1e-5)


def command(corpus, output, *more: str) -> list[str]:
    options = ["--upstream", "tera_tiny", "--upstream_ckpt", "scratch", "--wav_scp", str(corpus)]
    return [*options, "--output", str(output), *more]


def test_what_is_there_is_not_collected_again(corpus, tmp_path, capsys):
    output = tmp_path / "shard.npz"

    def collected(*more: str) -> bool:
        collect_stats.main(command(corpus, output, *more))
        return "is there already" not in capsys.readouterr().err

    assert collected("--shard", "1/2") and not collected("--shard", "1/2")
    assert collected("--shard", "2/2")  # another shard under the same name
    assert collected("--nj", "2") and not collected("--nj", "2")
    for more in (["--seed", "1"], ["--norm_site", "layer.1"], ["--kind", "noisy"]):
        assert collected("--nj", "1", *more)
    card = upstream_card("tera_tiny")  # changes without its weights
    card["architecture"]["audio"]["target_level"] = -20
    (tmp_path / "tera_tiny.yaml").write_text(json.dumps(card))
    assert collected("--nj", "1", "--kind", "noisy", "--upstream_conf_dir", str(tmp_path))
    assert collected("--nj", "1", "--kind", "noisy")
    first = Path(next(iter(read_scp(corpus).values())))
    first.touch()  # the audio is newer than its statistics
    assert collected("--nj", "1", "--kind", "noisy")


def test_runs_that_share_statistics_collect_them_once(corpus, tmp_path):
    words = command(corpus, tmp_path / "x.npz", "--norm_site", "layer.1")
    logs = [tmp_path / "1.log", tmp_path / "2.log"]
    runs = [fork_command("collect_stats", words, log) for log in logs]
    for run in runs:
        run.join(60)
    assert [run.exitcode for run in runs] == [0, 0]
    assert sum("is there already" in log.read_text() for log in logs) == 1


def test_command_merges_what_shards_wrote(corpus, tmp_path, monkeypatch):
    parts = [str(tmp_path / f"{k}.npz") for k in (1, 2)]
    for k, part in enumerate(parts, start=1):
        collect_stats.main(command(corpus, part, "--shard", f"{k}/2"))
    collect_stats.main(["--merge", *parts, "--output", str(tmp_path / "all.npz")])
    collect_stats.main(command(corpus, tmp_path / "one.npz"))
    merged, one = (FeatureStats.load(tmp_path / f"{name}.npz") for name in ("all", "one"))
    np.testing.assert_allclose(merged["projection"].mean, one["projection"].mean, rtol=1e-9)
    np.testing.assert_allclose(merged["projection"].std, one["projection"].std, rtol=1e-9)
    for key in ("corpus", "samples", "utterances"):
        assert merged.meta[key] == one.meta[key]
    with pytest.raises(FeatnormError, match="make no whole"):
        collect_stats.main(["--merge", parts[0], parts[0], "--output", str(tmp_path / "all.npz")])
    monkeypatch.setattr("featnorm_se.collection.metadata.version", lambda name: "1.0")
    with pytest.raises(FeatnormError, match="was begun with torch .*: go on in the one that began"):
        collect_stats.main(["--merge", *parts, "--output", str(tmp_path / "all.npz")])


def test_a_silent_utterance_is_refused(tmp_path):
    path = tmp_path / "bad.wav"
    soundfile.write(path, np.full(8000, 0.2), 16000)
    with pytest.raises(FeatnormError, match="utterance bad .*silent"):
        collect(load_upstream("tera_tiny", "scratch"), {"bad": str(path)}, ["projection"])


@pytest.mark.parametrize("upstream", ["wavlm_tiny", "tera_tiny"])
def test_what_holds_no_signal_counts_in_no_statistics(upstream, tmp_path):
    rng = np.random.default_rng(0)
    x = (0.1 * rng.normal(size=32000)).astype(np.float32)
    mute = np.zeros(16000, np.float32)
    whole = {"u": x, "cut": np.concatenate([mute, x[:16000], mute, x[16000:], mute])}
    found = {}
    for name, samples in whole.items():
        soundfile.write(tmp_path / f"{name}.wav", samples, 16000, subtype="FLOAT")
        model = load_upstream(upstream, "scratch")
        found[name] = collect(model, {"u": str(tmp_path / f"{name}.wav")}, ["frontend", "layer.1"])
    alone, cut = found["u"], found["cut"]
    assert abs(alone["level"].mean[0] - cut["level"].mean[0]) < 0.2
    for site in ("frontend", "layer.1"):
        # Five blocks of 10 ms beside a sound are kept, and each of four edges is in two frames.
        assert 0 <= cut[site].frames - alone[site].frames <= 8
        assert (np.abs(cut[site].mean - alone[site].mean) < 0.3 * alone[site].std).all()
