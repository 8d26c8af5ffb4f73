#!/usr/bin/env python3
"""More noises out of a few: every recording as it is and in variants, and babble of some speech.

    local/more_noise.py NOISE_ROOT SPEECH_ROOT OUTPUT

A variant is played 0.7 to 1.4 times as fast, through a random equalizer of up to 8 dB up or down;
every second one has another recording mixed in. Twenty recordings in five variants are heard as
far more than twenty by a network that would otherwise learn them by heart.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
from corpus.sources import find_audio
from numpy.typing import NDArray

from featnorm_se.bin import Parser, run
from featnorm_se.data.audio import read_audio
from featnorm_se.files import atomic_path
from featnorm_se.names import SAMPLE_RATE

SECONDS = 30.0  # of babble
Array = NDArray[np.floating]


def variant(noise: Array, rng: np.random.Generator) -> Array:
    """Return a noise (N,) at another speed and with another spectrum."""
    speed = rng.uniform(0.7, 1.4)
    place = np.arange(int(len(noise) / speed)) * speed
    x = np.interp(place, np.arange(len(noise)), noise)
    spectrum, bins = np.fft.rfft(x), np.fft.rfftfreq(len(x), 1 / SAMPLE_RATE)
    knots = np.geomspace(60, 8000, 7)
    decibels = np.interp(np.log(np.maximum(bins, 1)), np.log(knots), rng.uniform(-8, 8, 7))
    return np.fft.irfft(spectrum * 10 ** (decibels / 20), len(x))


def babble(voices: Sequence[Array], rng: np.random.Generator) -> Array:
    """Return all the talkers at once, each from a place of its own, at about the same level."""
    total = np.zeros(round(SECONDS * SAMPLE_RATE))
    for voice in voices:
        start = int(rng.integers(len(voice)))
        talk = np.resize(np.roll(voice, -start), len(total))
        total += talk / np.sqrt(np.mean(talk**2)) * rng.uniform(0.7, 1.0)
    return total


def unit(x: Array) -> Array:
    """Return a signal at an RMS of 0.05."""
    return x * 0.05 / max(float(np.sqrt(np.mean(x**2))), 1e-6)


def main(argv: Sequence[str]) -> None:
    """Write recordings, variants and babble."""
    parser = Parser(prog="local/more_noise.py", description=__doc__.splitlines()[0])
    parser.add_argument("noise_root", type=Path)
    parser.add_argument("speech_root", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--variants", type=int, default=5, help="of each recording")
    parser.add_argument("--babbles", type=int, default=15)
    args = parser.parse_args(argv)
    rng = np.random.default_rng(0)
    args.output.mkdir(parents=True, exist_ok=True)
    noises = {
        path.stem: unit(read_audio(path, SAMPLE_RATE)) for path in find_audio(args.noise_root)
    }
    made = dict(noises)
    for name, noise in noises.items():
        for number in range(args.variants):
            x = unit(variant(noise, rng))
            if number % 2:
                other = variant(noises[str(rng.choice(sorted(noises)))], rng)
                x = x + unit(np.resize(other, len(x))) * rng.uniform(0.3, 1.0)
            made[f"{name}-v{number}"] = x
    speech = find_audio(args.speech_root)
    for number in range(args.babbles):
        chosen = rng.choice(len(speech), size=int(rng.integers(3, 13)), replace=False)
        voices = [np.asarray(read_audio(speech[k], SAMPLE_RATE), np.float64) for k in chosen]
        made[f"babble-{number}"] = variant(babble(voices, rng), rng)
    for name, x in made.items():
        x = unit(x)
        with atomic_path(args.output / f"{name}.flac") as path:
            soundfile.write(path, x / max(1.0, np.abs(x).max()), SAMPLE_RATE, format="FLAC")
    print(f"{args.output}: {len(made)} noises")


if __name__ == "__main__":
    raise SystemExit(run(main))
