"""Feature distances and drift: figures against known answers, files from a real experiment."""

import csv
import json

import drift
import numpy as np
import pytest
import torch
from feature_look import channel_gaps, linear_cka, mean_cosine
from golden_numbers import write_pairs
from tiny_models import save_tiny

from featnorm_se import Enhancer, load_upstream
from featnorm_se.collection import collect
from featnorm_se.data.audio import read_audio, write_audio
from featnorm_se.data.scp import read_scp
from featnorm_se.errors import FeatnormError
from featnorm_se.report.experiments import read_scores

RNG = np.random.default_rng(0)


def test_cka_sees_through_rotation_scale_and_shift():
    x = RNG.normal(size=(500, 6))
    rotation, _ = np.linalg.qr(RNG.normal(size=(6, 6)))
    assert linear_cka(x, 3 * x @ rotation + 7) == pytest.approx(1)
    assert linear_cka(x, RNG.normal(size=(500, 6))) < 0.1
    assert np.isnan(linear_cka(x, np.ones((500, 6))))


def test_cosine_of_paired_frames():
    x = RNG.normal(size=(50, 4))
    assert mean_cosine(x, 2 * x) == pytest.approx(1)
    assert mean_cosine(x, -x) == pytest.approx(-1)
    x[0] = 0
    assert mean_cosine(x, x) == pytest.approx(1)


def test_gaps_are_in_clean_deviations():
    clean = RNG.normal(size=(5000, 2)) * [1, 10]
    gap, ratio = channel_gaps(clean, clean * 4 + [1, 10])
    np.testing.assert_allclose(gap, [1, 1], atol=0.15)
    np.testing.assert_allclose(ratio, [2, 2], atol=1e-9)


@pytest.fixture
def experiment(tmp_path):
    """A tiny model with the statistics of its data, the last layer moved as by fine-tuning."""
    write_pairs(tmp_path / "valid", 3, 9000, 0)
    for wav in tmp_path.rglob("*.wav"):  # the mute of a call, which no statistics are of
        write_audio(wav, np.pad(read_audio(wav, 16000), (0, 8000)))
    upstream = load_upstream("wavlm_tiny", "scratch", seed=3)
    stats = collect(upstream, read_scp(tmp_path / "valid" / "spk1.scp"), ["frontend"])
    expdir = save_tiny(tmp_path / "exp", "wavlm_tiny", feature="weighted_sum")
    separator = Enhancer.from_pretrained(expdir).separator
    separator.start_from(upstream.state_dict(), stats)
    state = {f"separator.{key}": value for key, value in separator.state_dict().items()}
    for key, value in state.items():
        if ".model.encoder.layers.2." in key:
            value += 0.3 * torch.randn_like(value)
    state["separator.weighted_sum.weight"][-1] = 3.0
    torch.save(state, expdir / "valid.loss.best.pth")
    record = {"upstream": "wavlm_tiny", "upstream_ckpt": "scratch", "seed": 3}
    record |= {"norm": "utterance", "norm_site": "frontend"}
    record["upstream_identity"] = upstream.identity
    (expdir / "run.json").write_text(json.dumps(record))
    return expdir


def test_drift_command_writes_figures_and_refuses_another_start(experiment, tmp_path):
    options = ["--expdir", str(experiment), "--datadir", str(tmp_path / "valid")]
    drift.main(options)
    layers = read_scores(experiment / "features/drift.csv", "layer")
    assert layers["frontend"]["cka"] == pytest.approx(1)
    assert [*layers.values()][-1]["cka"] < 0.99
    weights = [row["weight"] for row in layers.values()]
    assert weights[0] == 0 and sum(weights) == pytest.approx(1, abs=1e-5)
    assert weights[-1] / weights[1] == pytest.approx(np.exp(3), rel=1e-4)
    with open(experiment / "features/distance.csv", newline="") as handle:
        distance = {(row["site"], row["features"]): row for row in csv.DictReader(handle)}
    noisy, normalized = (distance["frontend", name] for name in ("noisy", "normalized"))
    assert float(normalized["mean_gap"]) < 1e-3 < float(noisy["mean_gap"])
    assert float(normalized["std_log2_ratio"]) < float(noisy["std_log2_ratio"])
    assert ("projection", "normalized") in distance
    above = distance["projection", "normalized"]
    assert float(above["mean_gap"]) != float(distance["projection", "noisy"]["mean_gap"])
    for name in ("distance", "frames"):
        assert (experiment / "features" / f"{name}.png").stat().st_size > 5000
    record = json.loads((experiment / "run.json").read_text())
    (experiment / "run.json").write_text(json.dumps({**record, "upstream_identity": "sha256:x"}))
    with pytest.raises(FeatnormError, match=r"started from sha256:x.* is scratch:3 now"):
        drift.main(options)
