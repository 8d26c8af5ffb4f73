"""Signals that PESQ and STOI take for speech, and the real test set when it is there."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

Array = NDArray[np.float64]
RATE = 16000


def make_speech(seed: int, seconds: float = 1.5, rate: int = RATE) -> Array:
    """Return a buzz with some breath that comes in syllables, peak 0.5."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * rate)) / rate
    pitch = 2 * np.pi * np.cumsum(110 + 20 * np.sin(2 * np.pi * 2 * time)) / rate
    buzz = sum(np.sin(k * pitch + rng.uniform(0, 6)) / k for k in range(1, 30))
    syllables = np.clip(np.sin(2 * np.pi * 3 * time + rng.uniform(0, 6)), 0.0, 1.0)
    signal = np.asarray(buzz) * syllables + 0.02 * rng.standard_normal(len(time))
    return np.asarray(0.5 * signal / np.abs(signal).max())


def make_noisy(speech: Array, snr: float, seed: int) -> Array:
    """Add white noise at an SNR in dB."""
    noise = np.random.default_rng(seed).standard_normal(len(speech))
    gain = np.sqrt(np.mean(speech**2) / np.mean(noise**2) / 10 ** (snr / 10))
    return np.asarray(speech + gain * noise)


@pytest.fixture
def speech() -> Array:
    return make_speech(1)


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
            clean = make_speech(i, 1.0 + 0.1 * i)
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
