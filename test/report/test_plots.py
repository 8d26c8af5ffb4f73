from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np

from featnorm_se.report import plots
from featnorm_se.report.figure import INK

NUMBERS = {"tera none": 0, "tera utterance": 1}


def texts(svg: str) -> list[str]:
    ElementTree.fromstring(svg)
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


def test_curves_are_labelled_and_take_the_pages_colour() -> None:
    curves = {"tera none": {"train": [(1, 0.5), (2, 0.4)], "valid": [(1, 0.6), (2, 0.5)]}}
    svg = plots.training_curves(curves, NUMBERS, 'Curves of "tera" & <more>')
    assert {"epoch", "loss", "tera none, train", "tera none, valid"} <= set(texts(svg))
    assert "currentColor" in svg and INK not in svg
    assert 'aria-label="Curves of &quot;tera&quot; &amp; &lt;more&gt;"' in svg
    assert "<metadata" not in svg and "<?xml" not in svg


def test_a_spectrogram_of_a_tone_is_where_and_as_loud_as_it_should_be() -> None:
    tone = np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000).astype(np.float32)
    magnitudes = plots.magnitudes(tone, 16000)
    assert magnitudes.shape == ((16000 - 512) // 128 + 1, 257)
    assert (magnitudes.argmax(axis=1) == 32).all()
    svg = plots.spectrogram(tone, 16000, float(magnitudes.max()), "Tone")
    assert {"time (s)", "frequency (kHz)", "level (dB)"} <= set(texts(svg))
    assert plots.magnitudes(tone[:10], 16000).shape == (1, 257)
