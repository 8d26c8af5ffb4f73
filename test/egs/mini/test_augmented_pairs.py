"""egs/mini/enh1/local: augmented_pairs.py, the pairs that the shipped enhancer learnt from."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

RECIPE = Path(__file__).parents[3] / "egs" / "mini" / "enh1"


def call(*words: str) -> subprocess.CompletedProcess[str]:
    """Run augmented_pairs.py as the shipped model's card says."""
    line = f". ./path.sh && local/augmented_pairs.py {shlex.join(words)}"
    return subprocess.run(["bash", "-c", line], cwd=RECIPE, capture_output=True, text=True)


def test_every_script_of_the_recipe_can_be_called() -> None:
    scripts = [path for path in (RECIPE / "local").iterdir() if path.suffix in (".py", ".sh")]
    assert scripts and [path.name for path in scripts if not os.access(path, os.X_OK)] == []


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    rng = np.random.default_rng(0)
    for folder, names in (("noise", ["a", "b"]), ("speech", [f"p{k}_001" for k in range(5)])):
        (tmp_path / folder).mkdir()
        for name in names:
            soundfile.write(
                tmp_path / folder / f"{name}.flac", rng.normal(size=16000) * 0.02, 16000
            )
    given = ["--valid_speakers", "p4", "--valid_noises", "b", "--copies", "6", "--nj", "1"]
    return ["--speech", str(tmp_path / "speech"), "--noise", str(tmp_path / "noise"), *given]


def test_pairs_are_as_asked_and_the_same_twice(words: list[str], tmp_path: Path) -> None:
    for name in ("out", "twin"):
        done = call(*words, "--rooms", "0", "--output", str(tmp_path / name))
        assert done.returncode == 0, done.stderr
    found = sorted(path.relative_to(tmp_path / "out") for path in (tmp_path / "out").rglob("*.wav"))
    assert len(found) == 2 * (4 * 6 + 1)
    assert {path.name[:2] for path in found if path.parts[0] == "valid"} == {"p4"}
    assert {path.name[:2] for path in found if path.parts[0] == "train"} == {"p0", "p1", "p2", "p3"}
    clean_levels, ratios = [], []
    for path in found:
        assert (tmp_path / "out" / path).read_bytes() == (tmp_path / "twin" / path).read_bytes()
        if path.parts[1] == "noisy":
            noisy, clean = (
                soundfile.read(tmp_path / "out" / path.parts[0] / kind / path.name)[0]
                for kind in ("noisy", "clean")
            )
            noise = np.mean((noisy - clean) ** 2)
            ratios.append(10 * np.log10(np.mean(clean**2) / max(noise, 1e-12)))
            clean_levels.append(10 * np.log10(np.mean(clean**2)))
    assert min(clean_levels) > -41 and max(clean_levels) < -17
    assert min(ratios) < 8 and max(ratios) > 17  # of -5 to 25 dB


def test_rooms_without_the_package_are_told_how_to_get_it(words: list[str], tmp_path: Path) -> None:
    done = call(*words, "--rooms", "1", "--output", str(tmp_path / "out"))
    assert done.returncode == 0 or "pip install pyroomacoustics, or give --rooms 0" in done.stderr
