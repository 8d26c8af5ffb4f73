"""The utterances to listen to: chosen by their gain, as players and spectrograms."""

import base64
import io
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from featnorm_se.data.audio import audio_info, read_audio
from featnorm_se.data.corpus import read_listing
from featnorm_se.errors import FeatnormError
from featnorm_se.metrics.names import METRICS
from featnorm_se.metrics.summary import format_value
from featnorm_se.report import plots
from featnorm_se.report.experiments import Experiment, Scores

SHOWN_SCORES = ("PESQ_WB", "STOI", "SI_SDR")


def choose(noisy: Scores, judged: Scores, metric: str) -> list[tuple[str, str, float]]:
    """Choose the utterances with the best, the median and the worst change from the noisy input.

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
    places = {"best change": 0, "median change": len(ranked) // 2, "worst change": len(ranked) - 1}
    chosen: dict[str, str] = {}
    for which, place in places.items():
        chosen.setdefault(ranked[place], which)
    return [(which, name, gains[name]) for name, which in chosen.items()]


def data_uri(signal: NDArray[np.float32], sample_rate: int) -> str:
    """Encode a signal in [-1, 1], shape (N,), as FLAC for a player's ``src``."""
    import soundfile

    content = io.BytesIO()
    soundfile.write(content, np.clip(signal, -1.0, 1.0), sample_rate, format="FLAC")
    return f"data:audio/flac;base64,{base64.b64encode(content.getvalue()).decode()}"


def read_audio_sets(
    datadir: str, testset: str, models: Sequence[Experiment]
) -> dict[str, dict[str, str]]:
    """Return files by utterance, by label: the noisy input, each model, and the clean speech.

    They are listed in ``<datadir>/<testset>/{wav,spk1}.scp`` and in each model's
    ``enhanced_<testset>/spk1.scp``; where two talk, ``spk2.scp`` has a second file.
    """
    folder = Path(datadir) / testset
    lists = {"noisy": folder / "wav.scp"}
    places = {model.label: model.folder / f"enhanced_{testset}" for model in models}
    for label, place in (places | {"clean": folder}).items():
        lists |= {label: place / "spk1.scp", f"{label}, second talker": place / "spk2.scp"}
    found = {}
    for label, scp in lists.items():
        with suppress(FeatnormError):  # the page then has no audio of it
            found[label] = read_listing(scp)
    return found


def make_clips(
    utt_id: str, files: Mapping[str, Mapping[str, str]], scores: Mapping[str, Scores]
) -> list[dict[str, str]]:
    """Return the players of an utterance, noisy first and clean last, on one level scale.

    A model that has no file of this utterance, in ``read_audio_sets``' lists, is left out.

    Returns:
        Of each, ``label``, ``name`` (the same for a screen reader), ``scores`` in a line,
        ``audio`` (a data URI) and ``spectrogram`` (an ``<svg>``).
    """
    paths = {label: listed[utt_id] for label, listed in files.items() if utt_id in listed}
    signals = {label: read_audio(p, None) for label, p in paths.items() if Path(p).is_file()}
    if not {"noisy", "clean"} <= signals.keys():
        return []
    rate = audio_info(paths["clean"]).sample_rate
    full_scale = float(plots.magnitudes(signals["clean"], rate).max()) or 1.0
    return [
        {
            "label": label,
            "name": f"{utt_id}, {label}",
            "scores": format_scores(scores.get(label, {}).get(utt_id, {})),
            "audio": data_uri(signal, rate),
            "spectrogram": plots.spectrogram(
                signal, rate, full_scale, f"Spectrogram of {utt_id}, {label}"
            ),
        }
        for label, signal in signals.items()
    ]


def format_scores(scores: Mapping[str, float]) -> str:
    """Write an utterance's main scores in a line, such as ``PESQ_WB 2.71, SI_SDR 8.1 dB``."""
    shown = [name for name in SHOWN_SCORES if name in scores]
    units = {name: " dB" if METRICS[name].unit == "dB" else "" for name in shown}
    return ", ".join(f"{name} {format_value(name, scores[name])}{units[name]}" for name in shown)
