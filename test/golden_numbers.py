"""The numbers of ``golden.json``: what the product computed before it was made smaller.

    python test/golden_numbers.py test/golden.json

writes them anew. Do that only where a number is meant to change, and say why in the commit.
"""

import json
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
import yaml
from tiny_models import training_config

from featnorm_se import Enhancer, FeatureStats

MEASURED = ("tera_tiny", "wavlm_tiny", "enhanced")


def voice(samples: int, seed: int) -> tuple[Any, Any]:
    """Return a made clean signal, harmonics with a slow envelope, and a noisy twin."""
    rng = np.random.default_rng(seed)
    time = np.arange(samples) / 16000
    pitch = 90 + 20 * (seed % 7)
    clean = sum(np.sin(2 * np.pi * pitch * k * time + rng.uniform(0, 6)) / k for k in range(1, 20))
    clean = 0.05 * clean * (1.1 + np.sin(2 * np.pi * 3 * time + seed))
    return clean, clean + 0.03 * rng.standard_normal(samples)


def write_pairs(folder: Path, count: int, samples: int, seed: int, rate: int = 16000) -> None:
    """Write a Kaldi-style data directory of made pairs."""
    folder.mkdir(parents=True)
    lists: dict[str, list[str]] = {"wav.scp": [], "spk1.scp": [], "utt2spk": []}
    for number in range(count):
        clean, noisy = voice(samples, seed + number)
        key = f"{folder.name}_{number:02d}"
        for name, wave in (("wav.scp", noisy), ("spk1.scp", clean)):
            path = folder / f"{key}.{name[:-4]}.wav"
            soundfile.write(path, wave, rate, subtype="PCM_16")
            lists[name].append(f"{key} {path}")
        lists["utt2spk"].append(f"{key} {key}")
    lists["spk2utt"] = lists["utt2spk"]
    for name, lines in lists.items():
        (folder / name).write_text("\n".join(lines) + "\n")


def run(module: str, *options: str) -> None:
    """Run one of the package's commands, in this process."""
    import_module(f"featnorm_se.bin.{module}").main(list(options))


def statistics(folder: Path, upstream: str) -> Path:
    """Collect the clean statistics of the training data; return their file."""
    output = folder / f"{upstream}.npz"
    run(
        "collect_stats", "--upstream", upstream, "--upstream_ckpt", "scratch",
        "--wav_scp", str(folder / "train" / "spk1.scp"), "--norm_site", "frontend,layer.1",
        "--output", str(output),
    )  # fmt: skip
    return output


def losses(folder: Path, upstream: str) -> list[float]:
    """Return training and validation loss of three epochs of five steps, FN at the first layer."""
    config = training_config() | {
        "max_epoch": 3,
        "chunk_length": 8000,
        "optim_conf": {"lr": 1e-3},
        "keep_nbest_models": 1,
    }
    (folder / "train.yaml").write_text(yaml.safe_dump(config))
    exp = folder / f"exp_{upstream}"
    run(
        "train", "--upstream", upstream, "--upstream_ckpt", "scratch", "--norm", "utterance",
        "--norm_site", "frontend,layer.1", "--config", str(folder / "train.yaml"),
        "--clean_stats", str(folder / f"{upstream}.npz"), "--expdir", str(exp),
        "--train_dir", str(folder / "train"), "--valid_dir", str(folder / "valid"),
    )  # fmt: skip
    states = torch.load(exp / "checkpoint.pth", map_location="cpu", weights_only=False)
    epochs = states["reporter"]["stats"].values()
    return [float(epoch[part]["loss"]) for epoch in epochs for part in ("train", "valid")]


def enhanced() -> list[list[float]]:
    """Return samples of what the shipped model makes of three made signals."""
    enhance = Enhancer.from_pretrained()
    found = []
    for number in range(3):
        y = enhance(voice(48000, number)[1].astype(np.float32), 16000)
        found.append([float(np.square(y).mean() ** 0.5), *y[:: len(y) // 40].astype(float)])
    return found


def measure(folder: Path, what: str) -> dict[str, Any]:
    """Compute the numbers of an upstream, or of ``enhanced``; files go below ``folder``."""
    if what == "enhanced":
        return {what: enhanced()}
    write_pairs(folder / "train", 10, 8800, 0)
    write_pairs(folder / "valid", 2, 8800, 50)
    stats = FeatureStats.load(statistics(folder, what))
    numbers: dict[str, Any] = {"losses": losses(folder, what)}
    for site in stats.sites:
        values = [*stats[site].mean[:8], *stats[site].std[:8]]
        numbers[f"statistics at {site}"] = [float(value) for value in values]
    return numbers


def main() -> None:
    """Write them."""
    with tempfile.TemporaryDirectory() as folder:
        numbers = {what: measure(Path(folder) / what, what) for what in MEASURED}
    Path(sys.argv[1]).write_text(json.dumps(numbers) + "\n")


if __name__ == "__main__":
    main()
