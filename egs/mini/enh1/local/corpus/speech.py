"""The mini corpus's own raw material: synthetic speech and noise, written as a folder tree.

The tree has the form that real recordings are taken in, so what follows is the same for both.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from corpus.espeak import Line, Voice, speak
from corpus.noise import (
    TEST_NOISES,
    TRAIN_NOISES,
    VALID_NOISES,
    Array,
    Maker,
    NoiseStudio,
    make_noises,
)
from corpus.plan import TEST_SPEAKERS, TRAIN_SPEAKERS
from corpus.texts import TEST_TEXTS, TRAIN_TEXTS
from featnorm_se.data.audio import write_audio
from featnorm_se.data.voicebank_demand import VALID_SPEAKERS
from featnorm_se.errors import FeatnormError

# Accent + voice variant, words a minute, pitch; no variant serves two speakers. No variant with
# breath: espeak-ng makes its noise from memory it never set, so its bytes differ between runs.
_TRAIN_VOICES = (
    "en-us+m3 165 45, en-gb-scotland+steph2 160 55, en-us+f4 175 50, en-gb-x-rp+m7 155 40,"
    "en-029+m4 160 50, en-gb-x-rp+rob 165 50, en-us+adam 170 50, en-us+shelby 160 50,"
    "en-gb-scotland+john 165 45, en-us+belinda 165 55, en-us+max 170 45, en-us+steph 165 50,"
    "en-gb-x-gbclan+m8 160 50, en-gb-x-rp+Annie 160 50, en-us+quincy 170 45, en-us+edward 160 50,"
    "en-029+Alex 170 50, en-us+Gene 165 50, en-gb-x-rp+ian 165 50, en-us+Andrea 170 50,"
    "en-us+zac 165 50, en-gb-scotland+norbert 160 50, en-us+Michael 165 45, en-us+Lee 170 50,"
    "en-gb-x-gbcwmd+benjamin 160 50, en-us+travis 165 50"
)
_VALID_VOICES = "en-gb-x-rp+m1 165 50, en-gb-scotland+f1 160 50"
_TEST_VOICES = "en-gb-x-rp+linda 165 50, en-us+m2 160 40"
_TRAIN_BABBLE = (
    "en-us+m5 170 60, en-gb-x-rp+aunty 165 40, en-us+m6 155 30, en-gb-scotland+anika 180 50"
)
_TEST_BABBLE = (
    "en-029+paul 160 40, en-us+robert 175 60, en-gb-x-rp+grandma 150 50, en-us+marcelo 165 30,"
    "en-gb-scotland+david 170 50"
)
_NOISE_SECONDS = 20.0
_BABBLE_LINES = 6


def write_speech(root: Path, train_speakers: int, counts: dict[str, int], seed: int) -> None:
    """Speak a corpus into ``root/{train,valid,test}/<speaker>/*.wav`` at espeak's 22.05 kHz.

    Args:
        root: the folder to fill.
        train_speakers: how many besides the validation ones.
        counts: utterances in ``train``, ``valid`` and ``test``.
        seed: orders the sentences and varies rate and pitch.

    Raises:
        FeatnormError: more speakers or utterances are wanted than there are voices and texts.
    """
    voices = {
        "train": _voices(_TRAIN_VOICES)[:train_speakers],
        "valid": _voices(_VALID_VOICES),
        "test": _voices(_TEST_VOICES),
    }
    if train_speakers > len(_voices(_TRAIN_VOICES)):
        raise FeatnormError(
            f"--train_speakers {train_speakers}: there are {len(_voices(_TRAIN_VOICES))} synthetic"
            " voices; give recordings with --speech_root for more"
        )
    names = {
        "train": TRAIN_SPEAKERS,
        "valid": VALID_SPEAKERS,
        "test": TEST_SPEAKERS,
    }
    rng = np.random.default_rng([seed, 1])
    places: list[Path] = []
    lines: list[Line] = []
    for part in ("train", "valid", "test"):
        texts = TEST_TEXTS if part == "test" else TRAIN_TEXTS
        for index, (voice, count) in enumerate(
            zip(voices[part], _shares(counts[part], len(voices[part])), strict=True)
        ):
            order = rng.permutation(len(texts))
            for number in range(count):
                places.append(root / part / names[part][index] / f"{number + 1:04d}.wav")
                lines.append(Line(_varied(voice, rng), texts[order[number % len(texts)]]))
    spoken, rate = speak(lines)
    for place, samples in zip(places, spoken, strict=True):
        write_audio(place, samples.astype(np.float32) / 32768.0, rate)


def write_noises(root: Path, seed: int) -> None:
    """Make the noises into ``root/{train,valid,test}/<name>.wav``, 20 s each, at 22.05 kHz.

    The babble's talkers speak nowhere else, and those of the test set not in training.
    """
    talkers = {"train": _voices(_TRAIN_BABBLE), "test": _voices(_TEST_BABBLE)}
    rng = np.random.default_rng([seed, 2])
    lines = []
    for part, texts in (("train", TRAIN_TEXTS), ("test", TEST_TEXTS)):
        for voice in talkers[part]:
            chosen = rng.choice(len(texts), size=_BABBLE_LINES, replace=False)
            lines += [Line(voice, texts[index]) for index in chosen]
    spoken, rate = speak(lines)
    talks = [
        np.concatenate(spoken[start : start + _BABBLE_LINES]).astype(np.float64)
        for start in range(0, len(spoken), _BABBLE_LINES)
    ]
    train = talks[: len(talkers["train"])]
    test = talks[len(talkers["train"]) :]
    parts: tuple[tuple[str, dict[str, Maker], list[Array]], ...] = (
        ("train", TRAIN_NOISES, train),
        ("valid", VALID_NOISES, train),
        ("test", TEST_NOISES, test),
    )
    for number, (part, makers, voices) in enumerate(parts):
        studio = NoiseStudio(_NOISE_SECONDS, rate, np.random.default_rng([seed, 3, number]), voices)
        for name, noise in make_noises(makers, studio).items():
            write_audio(root / part / f"{name}.wav", noise, rate)


def _voices(text: str) -> list[Voice]:
    """Read a comma-separated list of ``name rate pitch``."""
    voices = []
    for entry in text.split(","):
        name, rate, pitch = entry.split()
        voices.append(Voice(name, int(rate), int(pitch)))
    return voices


def _varied(voice: Voice, rng: np.random.Generator) -> Voice:
    """Nobody speaks each sentence alike: move rate and pitch a little."""
    return Voice(
        voice.name,
        voice.rate + int(rng.integers(-15, 16)),
        voice.pitch + int(rng.integers(-6, 7)),
    )


def _shares(total: int, speakers: int) -> list[int]:
    """Share utterances out as evenly as they go."""
    return [total // speakers + (index < total % speakers) for index in range(speakers)]
