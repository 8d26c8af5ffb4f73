"""A made voice and noise beside it, and the real test set when it is there."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from golden_numbers import voice
from numpy.typing import NDArray

Array = NDArray[np.float64]
RATE = 16000


def make_noisy(speech: Array, snr: float, seed: int) -> Array:
    """Add white noise at an SNR in dB."""
    noise = np.random.default_rng(seed).standard_normal(len(speech))
    gain = np.sqrt(np.mean(speech**2) / np.mean(noise**2) / 10 ** (snr / 10))
    return np.asarray(speech + gain * noise)


@pytest.fixture
def speech() -> Array:
    return np.asarray(voice(24000, 1)[0])


@pytest.fixture
def noisy(speech: Array) -> Array:
    return make_noisy(speech, 10.0, 2)


@pytest.fixture
def corpus(tmp_path: Path) -> Callable[[int], tuple[Path, Path]]:
    """Return a function that writes ``n`` pairs ``u0``, ``u1``, ... and gives both folders."""

    def write(count: int) -> tuple[Path, Path]:
        ref, inf = tmp_path / "ref", tmp_path / "inf"
        for folder in (ref, inf):
            folder.mkdir()
        for i in range(count):
            clean = voice(16000 + 1600 * i, i)[0]
            soundfile.write(ref / f"u{i}.wav", clean, RATE, subtype="PCM_16")
            noisy = np.clip(make_noisy(clean, 5.0 * i, i), -1, 1)
            soundfile.write(inf / f"u{i}.wav", noisy, RATE, subtype="PCM_16")
        return ref, inf

    return write


@pytest.fixture(scope="session")
def real_set() -> tuple[Path, list[dict[str, str]]]:
    """Return the folder of real pairs and the reference scores of every utterance."""
    root = Path(__file__).resolve().parents[2].parent / "shared/data/voicebank_demand_p257_16k"
    table = root / "reference_noisy.csv"
    if not table.is_file():
        pytest.skip("needs ../shared/data/voicebank_demand_p257_16k")
    with open(table, newline="") as handle:
        return root, list(csv.DictReader(handle))
