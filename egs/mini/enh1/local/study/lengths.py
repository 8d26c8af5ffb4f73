"""How long a signal must be for its own statistics to serve: a model on pieces of test pairs.

Utterances of one noise type and SNR are joined, the joined signal goes through the model in pieces,
and every utterance is scored in what comes out: whatever the pieces' length, the same speech is
scored. What depends on time (m and s of feature normalization, and the waveform's level where an
upstream sets it) is taken from each piece, or from the whole joined signal.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from estimate import DELTAS

from featnorm_se.data.audio import FloatArray, read_audio
from featnorm_se.errors import FeatnormError
from featnorm_se.inference.long_signal import Signal, enhance_windows
from featnorm_se.inference.windows import GRID, Window, Windowing
from featnorm_se.metrics.pair import score_measures
from featnorm_se.names import SAMPLE_RATE

if TYPE_CHECKING:
    from featnorm_se.inference.enhancer import Enhancer

LONGEST = 15.0  # seconds of a joined signal: the mel models cut longer ones by themselves
STATS = ("piece", "whole")
Scores = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Joined:
    """Utterances one after the other.

    Attributes:
        names: theirs.
        edges: samples where they begin, and the end; multiples of ``GRID``.
        clean, noisy: 16 kHz samples, shape (N,) each.
    """

    names: list[str]
    edges: list[int]
    clean: FloatArray
    noisy: FloatArray


@dataclass(frozen=True)
class Outcome:
    """The scores of one way to cut and to take statistics.

    Attributes:
        stats: ``piece`` or ``whole``, where the statistics came from.
        cut: what the pieces are: seconds asked for, ``utterance`` or ``joined``.
        seconds: their mean length.
        scores: by metric, by utterance.
    """

    stats: str
    cut: str
    seconds: float
    scores: Scores


def join_utterances(
    clean: Mapping[str, str],
    noisy: Mapping[str, str],
    conditions: Mapping[str, tuple[str, float]],
    utterances: int = 60,
    longest: float = LONGEST,
) -> list[Joined]:
    """Join consecutive utterances of one noise type and SNR; a signal a condition at first.

    Args:
        clean, noisy: audio files by utterance.
        conditions: noise type and SNR by utterance.
        utterances: take signals until so many are in them.
        longest: seconds that no signal exceeds.

    Raises:
        FeatnormError: no utterance is in all three, or a file cannot be read.
    """
    groups: dict[tuple[str, float], list[str]] = {}
    for name in sorted(clean.keys() & noisy.keys() & conditions.keys()):
        groups.setdefault(conditions[name], []).append(name)
    if not groups:
        raise FeatnormError("no utterance has clean and noisy audio, noise type and SNR")
    order = sorted(groups)
    random.Random(0).shuffle(order)  # else the first noises alone
    found: list[Joined] = []
    while order and sum(len(joined.names) for joined in found) < utterances:
        for condition in list(order):
            names = groups[condition]
            if not names:
                order.remove(condition)
            elif sum(len(joined.names) for joined in found) < utterances:
                joined = _join(names, clean, noisy, longest)
                groups[condition] = names[len(joined.names) :]
                found.append(joined)
    return found


def _join(
    names: Sequence[str], clean: Mapping[str, str], noisy: Mapping[str, str], longest: float
) -> Joined:
    """Join as many of the first utterances as are not too long together, one at least."""
    chosen: list[str] = []
    edges, pairs = [0], []
    for name in names:
        pair = [read_audio(files[name]) for files in (clean, noisy)]
        # Pieces begin on the grid of all frames; 20 ms of an utterance's end at most are lost.
        size = min(map(len, pair)) // GRID * GRID
        if chosen and edges[-1] + size > longest * SAMPLE_RATE:
            break
        chosen.append(name)
        edges.append(edges[-1] + size)
        pairs.append([samples[:size] for samples in pair])
    joined = [np.concatenate(part) for part in zip(*pairs, strict=True)]
    return Joined(chosen, edges, *joined)


def cut(joined: Joined, how: str) -> list[int]:
    """Return where pieces begin, and the end: equal ones of about so many seconds, or by name.

    Args:
        joined: the signal.
        how: seconds, ``utterance`` or ``joined`` (one piece).
    """
    total = joined.edges[-1]
    if how == "utterance":
        return joined.edges
    count = 1 if how == "joined" else max(1, round(total / (float(how) * SAMPLE_RATE)))
    return [round(i * total / count / GRID) * GRID for i in range(count)] + [total]


def enhance_pieces(
    enhancer: Enhancer, noisy: FloatArray, edges: Sequence[int], stats: str
) -> FloatArray:
    """Enhance a signal piece by piece and put the pieces' outputs together, without cross-fade.

    Args:
        enhancer: the model.
        noisy: 16 kHz samples (N,).
        edges: where pieces begin, multiples of ``GRID``, and the end.
        stats: ``piece``: each is an utterance of its own; ``whole``: feature normalization takes
            (m, s) of the whole signal, as the model's sites see it in these pieces.
    """
    plan = [Window(a, b, a, b) for a, b in zip(edges, edges[1:], strict=False)]
    if stats == "piece":
        wav = torch.from_numpy(np.ascontiguousarray(noisy))
        return torch.cat([enhancer.enhance([wav[w.start : w.stop]])[0] for w in plan]).numpy()
    signal = Signal.of(noisy[:, None])
    windows = enhance_windows(enhancer, signal, plan, Windowing())
    return np.concatenate([y[0, 0] for y in windows])


def score_utterances(joined: Joined, signal: FloatArray) -> Scores:
    """Score every utterance of a joined signal (N,); a score that cannot be had is left out."""
    found: Scores = {}
    for name, a, b in zip(joined.names, joined.edges, joined.edges[1:], strict=False):
        scores, _ = score_measures(joined.clean[a:b], signal[a:b], SAMPLE_RATE, DELTAS)
        found[name] = scores
    return found


def measure(
    enhancer: Enhancer, signals: Sequence[Joined], pieces: Sequence[str]
) -> Iterator[Outcome]:
    """Yield the scores of a model for every way to cut, statistics of the piece and of the whole.

    Args:
        enhancer: the model.
        signals: what to enhance.
        pieces: the ways to cut, see ``cut``.
    """
    for how in pieces:
        plans = [cut(joined, how) for joined in signals]
        seconds = sum(joined.edges[-1] for joined in signals) / SAMPLE_RATE
        mean = seconds / sum(len(edges) - 1 for edges in plans)
        for stats in STATS:
            scores: Scores = {}
            for joined, edges in zip(signals, plans, strict=True):
                output = enhance_pieces(enhancer, joined.noisy, edges, stats)
                scores.update(score_utterances(joined, output))
            yield Outcome(stats, how, mean, scores)
