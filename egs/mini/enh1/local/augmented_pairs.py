#!/usr/bin/env python3
"""Pairs to train an enhancer on for recordings of any kind, from speech and noise.

    local/augmented_pairs.py --speech SPEECH ... --noise NOISE ... --output DIR

DIR gets {train,valid}/{noisy,clean}, for ./run.sh --prepare folders --db_root DIR. Each clean
file is mixed --copies times: at another speed and through an equalizer, some in a room of which
the target keeps the first 30 ms, with one or two noises or a babble of other speakers, at -5 to
25 dB, at the levels that recordings have; a few stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from corpus.mix import SILENCE_RMS, active_level, mix_at_snr, rms
from corpus.sources import Clip, find_audio, read_clip, speaker_of
from numpy.typing import NDArray

from featnorm_se.bin import Parser, run
from featnorm_se.data.audio import audio_info, read_audio, write_audio
from featnorm_se.data.parallel import parallel_map
from featnorm_se.names import SAMPLE_RATE

Array = NDArray[np.float32]
SNR = (-5.0, 25.0)  # dB, active speech level over noise RMS
LEVEL = (-38.0, -18.0)  # dBFS, active speech level
EARLY = 0.03  # seconds of a room that the target keeps
CLEAN, ROOM, BABBLE, SECOND_NOISE = 0.03, 0.2, 0.12, 0.3  # how often


@dataclass(frozen=True)
class Source:
    """A clean file that is to be mixed: its set, its number, and the files it may meet."""

    part: str
    number: int
    path: Path
    speaker: str


def other_speed(x: Array, rng: np.random.Generator, spread: float) -> Array:
    """Play (N,) up to ``spread`` faster or slower."""
    import soxr

    speed = float(np.exp(rng.uniform(-np.log(spread), np.log(spread))))
    return np.asarray(soxr.resample(x, SAMPLE_RATE, SAMPLE_RATE / speed), dtype=np.float32)


def equalize(x: Array, rng: np.random.Generator, decibels: float) -> Array:
    """Send (N,) through a random curve between seven frequencies, up to ``decibels`` high."""
    knots = np.log(np.geomspace(60, 8000, 7))
    bins = np.log(np.maximum(np.fft.rfftfreq(len(x), 1 / SAMPLE_RATE), 1))
    curve = np.interp(bins, knots, rng.uniform(-decibels, decibels, 7))
    filtered = np.fft.irfft(np.fft.rfft(x) * 10 ** (curve / 20), len(x))
    return filtered.astype(np.float32)


def in_room(x: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return (N,) in a random room, and as its first reflections alone."""
    import pyroomacoustics
    from scipy.signal import fftconvolve

    size = rng.uniform([3.0, 3.0, 2.3], [8.0, 6.0, 3.5])
    absorption, order = pyroomacoustics.inverse_sabine(rng.uniform(0.2, 0.6), size)
    walls = pyroomacoustics.Material(min(absorption, 0.99))
    room = pyroomacoustics.ShoeBox(size, fs=SAMPLE_RATE, materials=walls, max_order=min(order, 17))
    room.add_source(rng.uniform(0.5, size - 0.5))
    room.add_microphone(rng.uniform(0.5, size - 0.5))
    room.compute_rir()
    response = room.rir[0][0]
    direct = int(np.argmax(np.abs(response)))
    response = response[direct:] / np.abs(response[direct])
    early = response[: round(EARLY * SAMPLE_RATE)]
    wet, near = (fftconvolve(x, h)[: len(x)].astype(np.float32) for h in (response, early))
    return wet, near


def a_noise(
    length: int, noises: Sequence[Path], speech: Sequence[Source], me: str, rng: np.random.Generator
) -> Array:
    """Return (length,) of noise at an RMS of 1: one recording, two, or several people at once."""
    others = [source.path for source in speech if source.speaker != me]
    if others and rng.random() < BABBLE:
        chosen = [others[k] for k in rng.integers(0, len(others), int(rng.integers(4, 13)))]
        gains = rng.uniform(0.4, 1.0, len(chosen))
    else:
        count = 2 if rng.random() < SECOND_NOISE else 1
        chosen = [noises[k] for k in rng.integers(0, len(noises), count)]
        gains = rng.uniform(0.3, 1.0, count)
    total = np.zeros(length, np.float32)
    for path, gain in zip(chosen, gains, strict=True):
        header = audio_info(path)
        frames = min(header.frames, round(1.4 * length / SAMPLE_RATE * header.sample_rate) + 1)
        start = int(rng.integers(header.frames - frames + 1))
        x = read_clip(Clip(str(path), start, frames, header.sample_rate), SAMPLE_RATE)
        x = equalize(other_speed(x, rng, 1.4), rng, 8.0)
        x = np.resize(np.roll(x, -int(rng.integers(len(x)))), length)
        total += np.float32(gain / max(rms(x), 1e-6)) * x
    if rms(total) < SILENCE_RMS:  # some recordings hold digital silence
        return a_noise(length, noises, speech, me, rng)
    return total / np.float32(rms(total))


def render(
    source: Source,
    output: Path,
    noises: dict[str, list[Path]],
    speech: dict[str, list[Source]],
    seed: int,
) -> float:
    """Write one pair and return its seconds; the bytes depend on its number and the seed only."""
    rng = np.random.default_rng([seed, source.number, source.part == "valid"])
    clean = read_audio(source.path, SAMPLE_RATE)
    if rng.random() < 0.5:
        clean = other_speed(clean, rng, 1.12)
    if rng.random() < 0.5:
        clean = equalize(clean, rng, 6.0)
    wet = clean
    if rng.random() < ROOM:
        wet, clean = in_room(clean, rng)
    if rng.random() < CLEAN:
        noisy = wet
    else:
        noise = a_noise(len(wet), noises[source.part], speech[source.part], source.speaker, rng)
        scaled, noisy = mix_at_snr(wet, noise, rng.uniform(*SNR), SAMPLE_RATE)
        clean = clean * np.float32(rms(scaled) / rms(wet))
    gain = 10 ** (rng.uniform(*LEVEL) / 20) / max(active_level(clean, SAMPLE_RATE), 1e-6)
    gain = np.float32(min(gain, 0.99 / max(np.abs(noisy).max(), np.abs(clean).max())))
    name = f"{source.speaker}_{source.number:06d}.wav"
    for kind, samples in (("noisy", noisy), ("clean", clean)):
        write_audio(output / source.part / kind / name, gain * samples, SAMPLE_RATE)
    return len(clean) / SAMPLE_RATE


def main(argv: Sequence[str]) -> None:
    """Write the pairs."""
    parser = Parser(prog="local/augmented_pairs.py", description=__doc__)
    add = parser.add_argument
    add("--speech", nargs="+", type=Path, required=True, help="folders; named twice, counted twice")
    add("--noise", nargs="+", type=Path, required=True, help="folders")
    add("--output", type=Path, required=True)
    add("--valid_speakers", nargs="*", default=[], help="who is heard in validation only")
    add("--valid_noises", nargs="*", default=[], help="file names, without their endings")
    add("--copies", type=int, default=12, help="of each clean training file; validation has one")
    add("--seed", type=int, default=0)
    add("--nj", type=int, default=2)
    args = parser.parse_args(argv)
    files = [path for root in args.noise for path in find_audio(root)]
    noises = {
        part: [path for path in files if (path.stem in args.valid_noises) == (part == "valid")]
        for part in ("train", "valid")
    }
    people = [(path, speaker_of(path, root)) for root in args.speech for path in find_audio(root)]
    speech: dict[str, list[Source]] = {}
    for part, copies in (("train", args.copies), ("valid", 1)):
        heard = [(p, who) for p, who in people if (who in args.valid_speakers) == (part == "valid")]
        turns = enumerate(heard * copies)
        speech[part] = [Source(part, number, path, who) for number, (path, who) in turns]
        for kind in ("noisy", "clean"):
            (args.output / part / kind).mkdir(parents=True, exist_ok=True)
    write = partial(render, output=args.output, noises=noises, speech=speech, seed=args.seed)
    seconds = parallel_map(write, speech["train"] + speech["valid"], args.nj, "pairs")
    print(f"{args.output}: {len(seconds)} pairs, {sum(seconds) / 3600:.1f} hours")


if __name__ == "__main__":
    raise SystemExit(run(main))
