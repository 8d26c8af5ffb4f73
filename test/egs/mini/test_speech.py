"""The synthetic voices and noises: all speak, none by chance, none in two sets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from corpus import noise, speech
from corpus.espeak import Line, speak

SETS = ("_TRAIN_VOICES", "_VALID_VOICES", "_TEST_VOICES", "_TRAIN_BABBLE", "_TEST_BABBLE")
VOICES = [voice for name in SETS for voice in speech._voices(getattr(speech, name))]


def test_no_voice_serves_two_purposes_or_has_breath() -> None:
    """espeak-ng's breath noise differs between runs."""
    variants = [voice.name.split("+")[1] for voice in VOICES]
    assert len(variants) == len(set(variants))
    folder = Path(pytest.importorskip("espeakng_loader").get_data_path()) / "voices" / "!v"
    for variant in variants:
        assert "\nbreath" not in (folder / variant).read_text(errors="replace"), variant


def test_every_voice_speaks_the_same_every_time() -> None:
    lines = [Line(voice, "Nine green boats left.") for voice in VOICES]
    first, rate = speak(lines)
    again, _ = speak(lines)
    assert rate == 22050
    for line, one, two in zip(lines, first, again, strict=True):
        assert 0.8 < len(one) / rate < 4.0, line
        assert np.abs(one.astype(int)).max() > 2000, line
        assert np.array_equal(one, two), line


def test_noises_are_all_there_and_differ(tmp_path: Path) -> None:
    speech.write_noises(tmp_path, 0)
    found = {path.stem: soundfile.read(path)[0] for path in tmp_path.rglob("*.wav")}
    kinds = [noise.TRAIN_NOISES, noise.VALID_NOISES, noise.TEST_NOISES]
    assert set(found) == {name for makers in kinds for name in makers}
    assert sum(map(len, kinds)) == len(found)

    def slope(samples: np.ndarray) -> float:
        """Decibels an octave between 250 and 4000 Hz."""
        power = np.abs(np.fft.rfft(samples)) ** 2
        hertz = np.fft.rfftfreq(len(samples), 1 / 22050)
        bands = [power[(hertz > f / 1.4) & (hertz < f * 1.4)].mean() for f in (250, 4000)]
        return float(10 * np.log10(bands[1] / bands[0]) / 4)

    for name, wanted in (("white", 0.0), ("pink", -3.0), ("brown", -6.0)):
        assert slope(found[name]) == pytest.approx(wanted, abs=0.6)
