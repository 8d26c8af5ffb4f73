"""A planned pair, or two talkers, mixed and written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from corpus.mix import SILENCE_RMS, mix_at_snr, mix_talkers, rms
from corpus.plan import PARTS, Pair
from corpus.sources import Clip, read_clip
from featnorm_se.data import voicebank_demand as names
from featnorm_se.data.audio import audio_info, write_audio
from featnorm_se.data.libri2mix import FOLDERS
from featnorm_se.errors import FeatnormError
from featnorm_se.names import SAMPLE_RATE

_TRIES = 8


def render_talkers(pair: Pair, folder: Path) -> float:
    """Mix and write two talkers as Libri2Mix has them, as long as the shorter one.

    Returns, raises: see ``render_pair``.
    """
    assert pair.other is not None
    both = [read_clip(clip, SAMPLE_RATE) for clip in (pair.speech, pair.other)]
    size = min(map(len, both))
    first, second = (samples[:size] for samples in both)
    if min(rms(first), rms(second)) < SILENCE_RMS:
        return 0.0
    noise = _read_noise(pair, size)
    mixed = mix_talkers((first, second), noise, pair.ratio, pair.snr, SAMPLE_RATE)
    for name, samples in mixed.items():
        place = folder / FOLDERS[PARTS.index(pair.part)] / name
        write_audio(place / f"{pair.name}.wav", samples, SAMPLE_RATE)
    return size / SAMPLE_RATE


def render_pair(pair: Pair, folder: Path) -> float:
    """Mix and write one pair.

    Returns:
        Its length in seconds; 0 when the speech is silent, and nothing is written.

    Raises:
        FeatnormError: a source cannot be read, or the noise is silent wherever it was tried.
    """
    clean = read_clip(pair.speech, SAMPLE_RATE)
    if rms(clean) < SILENCE_RMS:
        return 0.0
    noise = _read_noise(pair, len(clean))
    clean, noisy = mix_at_snr(clean, noise, pair.snr, SAMPLE_RATE)
    folders = names.TEST_FOLDERS if pair.part == "test" else names.TRAIN_FOLDERS
    for samples, name in zip((noisy, clean), folders, strict=True):
        write_audio(folder / name / f"{pair.name}.wav", samples, SAMPLE_RATE)
    return len(clean) / SAMPLE_RATE


def _read_noise(pair: Pair, length: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Read ``length`` samples of noise from the pair's place on, repeated when it is shorter."""
    header = audio_info(pair.noise)
    wanted = int(np.ceil(length / SAMPLE_RATE * header.sample_rate)) + 1
    room = max(0, header.frames - wanted)
    for attempt in range(_TRIES):
        start = round((pair.place + attempt / _TRIES) % 1.0 * room)
        frames = min(wanted, header.frames)
        clip = Clip(str(pair.noise), start, frames, header.sample_rate)
        noise = read_clip(clip, SAMPLE_RATE)
        if not room:
            noise = np.roll(noise, -round(pair.place * len(noise)))
        if rms(noise) >= SILENCE_RMS:
            return np.resize(noise, length)
    raise FeatnormError(f"the noise {pair.noise} is silent: take it out of the noise folder")
