"""Noises made by us: coloured, speech-shaped, modulated, machines, and babble."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Maker = Callable[["NoiseStudio"], Array]


class NoiseStudio:
    """What a noise is made from: a length, a rate, random numbers and some speech.

    Args:
        seconds: the length of each noise.
        sample_rate: in Hz.
        rng: the source of all chance.
        voices: per babble talker one array of speech, (N,) at ``sample_rate``.
    """

    def __init__(
        self,
        seconds: float,
        sample_rate: int,
        rng: np.random.Generator,
        voices: Sequence[Array],
    ) -> None:
        self.size = round(seconds * sample_rate)
        self.sample_rate = sample_rate
        self.rng = rng
        self.voices = voices

    def coloured(self, slope: float) -> Array:
        """White noise whose power falls by ``slope`` x 3 dB an octave (1 pink, 2 brown)."""
        return self._shaped(lambda f: np.maximum(f, 30.0) ** (-slope / 2.0))

    def speech_shaped(self) -> Array:
        """Stationary noise with the long-term spectrum of the babble talkers."""
        speech = np.concatenate(list(self.voices))
        blocks = speech[: len(speech) // 1024 * 1024].reshape(-1, 1024) * np.hanning(1024)
        spectrum = np.sqrt(np.mean(np.abs(np.fft.rfft(blocks)) ** 2, axis=0))
        bins = np.fft.rfftfreq(1024, 1.0 / self.sample_rate)
        return self._shaped(lambda f: np.interp(f, bins, spectrum))

    def babble(self) -> Array:
        """All the talkers at once, each from a place of its own, at about the same level."""
        total = np.zeros(self.size)
        for voice in self.voices:
            start = int(self.rng.integers(len(voice)))
            talk = np.resize(np.roll(voice, -start), self.size)
            total += talk / np.sqrt(np.mean(talk**2)) * self.rng.uniform(0.7, 1.0)
        return total

    def modulated(self, carrier: Array, rate: float, depth: float) -> Array:
        """Amplitude-modulate a noise at about ``rate`` Hz (wandering) by ``depth`` in [0, 1]."""
        return carrier * (1.0 - depth * 0.5 * (1.0 + np.cos(self._phase(rate, 0.2))))

    def hum(self, fundamental: float, harmonics: int) -> Array:
        """A machine: harmonics of a slightly wandering fundamental, falling as 1/k."""
        phase = self._phase(fundamental, 0.01)
        offsets = self.rng.uniform(0.0, 2.0 * np.pi, harmonics)
        return sum(
            (np.sin(k * phase + offsets[k - 1]) / k for k in range(1, harmonics + 1)),
            start=np.zeros(self.size),
        )

    def clicks(self, per_second: float, decay: float) -> Array:
        """Short noise bursts at random times, dying away within about ``decay`` seconds."""
        count = max(1, round(per_second * self.size / self.sample_rate))
        hits = np.zeros(self.size)
        places = self.rng.integers(self.size, size=count)
        hits[places] = self.rng.uniform(0.3, 1.0, size=count)
        tail = round(5 * decay * self.sample_rate)
        kernel = np.exp(-np.arange(tail) / (decay * self.sample_rate))
        length = 1 << (self.size + tail).bit_length()
        envelope = np.fft.irfft(np.fft.rfft(hits, length) * np.fft.rfft(kernel, length))
        return np.maximum(envelope[: self.size], 0.0) * self.rng.standard_normal(self.size)

    def _shaped(self, magnitude: Callable[[Array], Array]) -> Array:
        """Gaussian noise filtered to a magnitude response given over frequency in Hz."""
        spectrum = np.fft.rfft(self.rng.standard_normal(self.size))
        frequency = np.fft.rfftfreq(self.size, 1.0 / self.sample_rate).astype(np.float64)
        return np.fft.irfft(spectrum * magnitude(frequency), self.size)

    def _phase(self, rate: float, wander: float) -> Array:
        """A running phase whose frequency wanders slowly around ``rate`` Hz."""
        knots = self.rng.uniform(1.0 - wander, 1.0 + wander, 2 + self.size // self.sample_rate)
        places = np.linspace(0.0, len(knots) - 1.0, self.size)
        speed = rate * np.interp(places, np.arange(len(knots)), knots)
        return 2.0 * np.pi * np.cumsum(speed) / self.sample_rate


def _unit(noise: Array) -> Array:
    """Scale to an RMS of one."""
    return noise / np.sqrt(np.mean(noise**2))


# Three disjoint sets: the test noises, and the validation ones, are of kinds not trained on.
TRAIN_NOISES: dict[str, Maker] = {
    "ssn": lambda s: s.speech_shaped(),
    "babble": lambda s: s.babble(),
    "pink": lambda s: s.coloured(1.0),
    "white": lambda s: s.coloured(0.0),
    "brown": lambda s: s.coloured(2.0),
    "pulse": lambda s: s.modulated(s.speech_shaped(), 4.0, 0.9),
    "motor": lambda s: _unit(s.hum(110.0, 25)) + 0.7 * _unit(s.coloured(1.0)),
    "rattle": lambda s: _unit(s.clicks(12.0, 0.03)) + 0.3 * _unit(s.coloured(1.5)),
}
VALID_NOISES: dict[str, Maker] = {
    "fan": lambda s: _unit(s.hum(190.0, 8)) * 0.5 + _unit(s.coloured(1.3)),
    "waves": lambda s: s.modulated(s.coloured(0.7), 0.6, 0.9),
}
TEST_NOISES: dict[str, Maker] = {
    "crowd": lambda s: s.babble(),
    "engine": lambda s: _unit(s.hum(65.0, 40)) + _unit(s.coloured(1.8)),
    "gusts": lambda s: s.modulated(s.coloured(1.5), 1.3, 0.95),
    "keys": lambda s: _unit(s.clicks(5.0, 0.012)) + 0.4 * _unit(s.coloured(0.8)),
}


def make_noises(makers: dict[str, Maker], studio: NoiseStudio) -> dict[str, NDArray[np.float32]]:
    """Make each noise with its largest sample at 0.5; float32, shape (N,)."""
    made = {}
    for name, maker in makers.items():
        noise = maker(studio)
        made[name] = (0.5 * noise / np.abs(noise).max()).astype(np.float32)
    return made
