"""The utterances to listen to: chosen by their gain, as players and spectrograms."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featnorm_se.data.audio import audio_info, read_audio
from featnorm_se.errors import FeatnormError
from featnorm_se.metrics.listing import read_listing
from featnorm_se.metrics.names import METRICS
from featnorm_se.metrics.summary import format_value
from featnorm_se.report import plots
from featnorm_se.report.experiments import Experiment, Scores

SHOWN_SCORES = ("PESQ_WB", "STOI", "SI_SDR")
# By a page's kind of audio: its MIME type, and how soundfile writes it.
FORMATS: dict[str, tuple[str, dict[str, Any]]] = {
    "flac": ("audio/flac", {"format": "FLAC", "subtype": "PCM_16"}),
    "mp3": ("audio/mpeg", {"format": "MP3", "compression_level": 0.5}),
}


@dataclass(frozen=True)
class Clip:
    """One player.

    Attributes:
        label: what is heard.
        name: the same for a screen reader, with the utterance.
        scores: its main scores in a line.
        audio: a data URI.
        spectrogram: an ``<svg>``.
    """

    label: str
    name: str
    scores: str
    audio: str
    spectrogram: str


def choose(noisy: Scores, judged: Scores, metric: str = "PESQ_WB") -> list[tuple[str, str, float]]:
    """Choose the utterances with the best, the median and the worst gain over the noisy input.

    Returns:
        ``(which, utterance, gain)``; fewer than three when there are fewer utterances.
    """
    gains = {
        name: judged[name][metric] - noisy[name][metric]
        for name in sorted(noisy.keys() & judged.keys())
        if metric in judged[name] and metric in noisy[name]
    }
    ranked = sorted(gains, key=lambda name: -gains[name])
    if not ranked:
        return []
    places = {"best gain": 0, "median gain": len(ranked) // 2, "worst gain": len(ranked) - 1}
    chosen: dict[str, str] = {}
    for which, place in places.items():
        chosen.setdefault(ranked[place], which)
    return [(which, name, gains[name]) for name, which in chosen.items()]


def data_uri(signal: NDArray[np.float32], sample_rate: int, kind: str) -> str:
    """Encode a signal for the ``src`` of a player.

    Args:
        signal: samples in [-1, 1], shape (N,).
        sample_rate: in Hz.
        kind: ``flac`` or ``mp3``.
    """
    import soundfile

    mime, options = FORMATS[kind]
    content = io.BytesIO()
    soundfile.write(content, np.clip(signal, -1.0, 1.0), sample_rate, **options)
    return f"data:{mime};base64,{base64.b64encode(content.getvalue()).decode()}"


def read_audio_sets(
    datadir: str | os.PathLike[str], testset: str, models: Sequence[Experiment]
) -> dict[str, dict[str, str]]:
    """Return the files by utterance of the noisy input, of each model, and of the clean speech.

    Args:
        datadir: folder of ``<testset>/{wav,spk1}.scp``.
        testset: the test set's name.
        models: the experiments, with ``enhanced_<testset>/spk1.scp``.
    """
    folder = Path(datadir) / testset
    sources = {"noisy": folder / "wav.scp"}
    sources |= {model.name: model.folder / f"enhanced_{testset}" / "spk1.scp" for model in models}
    return {name: _listing(scp) for name, scp in {**sources, "clean": folder / "spk1.scp"}.items()}


def _listing(scp: Path) -> dict[str, str]:
    try:
        return read_listing(scp)
    except FeatnormError:
        return {}  # the page then has no audio of it


def make_clips(
    utt_id: str,
    files: Mapping[str, Mapping[str, str]],
    labels: Mapping[str, str],
    scores: Mapping[str, Scores],
    kind: str,
) -> list[Clip]:
    """Return the clips of an utterance, noisy first and clean last, on one level scale.

    A model that has no file of this utterance is left out.

    Args:
        utt_id: the utterance.
        files: as from ``read_audio_sets``.
        labels: what to call each model.
        scores: the scores by model and utterance.
        kind: ``flac`` or ``mp3``.
    """
    paths = {name: listed[utt_id] for name, listed in files.items() if utt_id in listed}
    signals = {name: read_audio(path, None) for name, path in paths.items() if Path(path).is_file()}
    if not {"noisy", "clean"} <= signals.keys():
        return []
    rate = audio_info(paths["clean"]).sample_rate
    full_scale = float(plots.magnitudes(signals["clean"], rate).max()) or 1.0
    clips = []
    for name, signal in signals.items():
        label = labels.get(name, name)
        title = f"Spectrogram of {utt_id}, {label}"
        picture = plots.spectrogram(signal, rate, full_scale, title)
        line = format_scores(scores.get(name, {}).get(utt_id, {}))
        audio = data_uri(signal, rate, kind)
        clips.append(Clip(label, f"{utt_id}, {label}", line, audio, picture))
    return clips


def format_scores(scores: Mapping[str, float]) -> str:
    """Write an utterance's main scores in a line, such as ``PESQ_WB 2.71, SI_SDR 8.1 dB``."""
    units = {name: " dB" if METRICS[name].unit == "dB" else "" for name in SHOWN_SCORES}
    return ", ".join(
        f"{name} {format_value(name, scores[name])}{unit}"
        for name, unit in units.items()
        if name in scores
    )
