"""Packed models: the same output to the bit."""

import json
import zipfile

import numpy as np
import pytest
import torch
import yaml
from bad_inputs_world import noise
from tiny_models import save_tiny

from featnorm_se import Enhancer
from featnorm_se.bin.main import main
from featnorm_se.inference.model_file import read_member
from featnorm_se.inference.windows import Windowing
from featnorm_se.report.pack import halve, pack


@pytest.fixture(scope="module")
def packed(tiny_experiment, tmp_path_factory):
    path = tmp_path_factory.mktemp("packed") / "model.zip"
    pack(tiny_experiment, path)
    return path


@pytest.mark.parametrize(
    ("upstream", "norm"),
    [
        ("tera_tiny", "utterance"),
        ("wavlm_tiny", "mix"),
        ("wavlm_tiny", "level"),
        ("fbank", "corpus"),
    ],
)
def test_a_packed_model_gives_the_experiments_output_to_the_bit(tmp_path, upstream, norm):
    folder = save_tiny(tmp_path / "exp", upstream, norm)
    pack(folder, tmp_path / "model.zip")
    card = read_member(tmp_path / "model.zip", "README.md").decode()
    weights = sum(p.numel() for p in Enhancer.from_pretrained(folder).separator.parameters())
    assert f"- parameters: {weights:,}\n" in card
    assert (f"normalization: {norm} at" in card) == (norm != "level")
    x = noise(5)
    for windowing in (None, Windowing(2, 0.6)):
        ours = Enhancer.from_pretrained(folder)(x, 16000, windowing)
        theirs = Enhancer.from_pretrained(tmp_path / "model.zip")(x, 16000, windowing)
        np.testing.assert_array_equal(ours, theirs)


def test_packing_twice_gives_the_same_bytes(tiny_experiment, packed, tmp_path):
    pack(tiny_experiment, tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == packed.read_bytes()


def test_paths_of_the_machine_are_left_out_and_scores_are_in(tmp_path, capsys):
    folder = save_tiny(tmp_path / "exp" / "mine")
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config |= {"output_dir": "/home/me/exp", "clean_stats": "dump/stats/clean.npz"}
    config |= {"train_data_path_and_name_and_type": [["/home/me/x"]]}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    data = {"resampled_to": "/home/me/dump", "counts": {"train": {"pairs": 7, "hours": 0.5}}}
    record = {"name": "mine", "epochs": 3, "command": "/home/me/run.sh", "data": data}
    record["init"] = {"model": "/home/me/default.zip", "weights": "sha256:4eca"}
    (folder / "run.json").write_text(json.dumps(record))
    for name, mean in (("mine", 2.5), ("noisy", 1.97)):
        scores = tmp_path / "exp" / name / "scores_test"
        scores.mkdir(parents=True)
        summary = {"inf": "/home/me/x", "utterances": 8, "metrics": {"PESQ_WB": {"mean": mean}}}
        (scores / "summary.json").write_text(json.dumps(summary))
    (tmp_path / "notes.md").write_text("## How it was made\n\n    ./run.sh --stage 3\n")
    options = ["--notes", str(tmp_path / "notes.md"), "--licence", "cc-by-sa-4.0", "--half"]
    assert main(["pack", str(folder), str(tmp_path / "model.zip"), *options]) == 0
    names = ("config.yaml", "results.json", "README.md")
    *texts, card = (read_member(tmp_path / "model.zip", name).decode() for name in names)
    assert "/home/me" not in "".join([*texts, card])
    assert "\nlicense: cc-by-sa-4.0\n" in card.split("---")[1] and "rounded to float16" in card
    assert "\n## How it was made\n\n    ./run.sh --stage 3\n\n## Scores" in card
    assert "| PESQ_WB | 1.970 | 2.500 |" in card
    assert "train: 7 pairs, 0.5 hours" in card
    assert "epochs 3, weights valid.loss.best.pth" in card
    assert "trained further from default.zip, sha256:4eca: what that model was trained on" in card
    for wanted in ("2306.08406", "Not causal", "0 to 8 kHz", "Licence", "featnorm_se, version"):
        assert wanted in card
    # The test pairs were made anew since, and scored without this model.
    (tmp_path / "exp/noisy/scores_test/summary.json").write_text('{"input": "new", "metrics": {}}')
    pack(folder, tmp_path / "model.zip")
    card = read_member(tmp_path / "model.zip", "README.md").decode()
    assert "2.500" in card and "1.970" not in card
    # As stage 4 leaves it that was given another --inference_model: those are not its scores.
    summary = {"metrics": {"PESQ_WB": {"mean": 2.5}}, "enhanced_with": [{"model": "0" * 64}]}
    (folder / "scores_test" / "summary.json").write_text(json.dumps(summary))
    pack(folder, tmp_path / "model.zip")
    assert "2.500" not in read_member(tmp_path / "model.zip", "README.md").decode()
    assert "scores_test is of other weights" in capsys.readouterr().err


def test_halved_weights_come_back_as_float32_and_near(tmp_path):
    folder = save_tiny(tmp_path / "exp")
    whole, half = tmp_path / "whole.zip", tmp_path / "half.zip"
    pack(folder, whole)
    pack(folder, half, half=True)
    assert half.stat().st_size < 0.7 * whole.stat().st_size  # a tiny model has many vectors
    one, other = Enhancer.from_pretrained(whole), Enhancer.from_pretrained(half)
    for (key, a), b in zip(
        one.separator.state_dict().items(), other.separator.state_dict().values(), strict=True
    ):
        assert a.dtype == b.dtype
        exact = a.dim() < 2 or ".norms." in key or a.dtype != torch.float32
        torch.testing.assert_close(a if exact else a.half().float(), b, rtol=0, atol=0)
    x = noise(1)
    difference = one(x) - other(x)
    assert np.square(difference).sum() < 1e-4 * np.square(one(x)).sum()
    run = json.loads(read_member(half, "results.json"))["run"]
    assert run["weights_stored_as"] == "float16"


def test_what_float16_cannot_hold_stays_float32():
    large, small = torch.full((2, 2), 1e6), torch.ones(2, 2)
    halved = halve({"a": large, "b": small, "c": torch.ones(2), "d": torch.ones(2, 2).long()})
    kinds = [halved[key].dtype for key in "abcd"]
    assert kinds == [torch.float32, torch.float16, torch.float32, torch.int64]


def test_a_hub_name_gives_a_folder_without_pickles(packed, hub):
    with zipfile.ZipFile(packed) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    hub.add_repository("someone/some-model", files | {"valid.loss.best.pth": b"a pickle"})
    Enhancer.from_pretrained("someone/some-model")
    fetched = {path.rsplit("/")[-1] for _, path, _ in hub.requests}
    assert fetched == {"config.yaml", "model.safetensors"}
