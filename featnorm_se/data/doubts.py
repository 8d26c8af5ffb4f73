"""What stage 1 doubts in the pairs that it takes, and what it refuses between sets."""

import filecmp
import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy import fft

from featnorm_se.data.audio import FloatArray, read_any_audio, read_audio
from featnorm_se.data.datadir import Utterance
from featnorm_se.errors import FeatnormError, say
from featnorm_se.names import SAMPLE_RATE

_LONGEST = 60  # seconds of a recording that are looked at
_PEAK = 11  # deviations of the correlation


def find_shift(noisy: FloatArray, clean: FloatArray) -> float:
    """Return how many seconds a noisy recording is later than its clean speech.

    It is the highest peak of the generalized cross-correlation with phase transform (Knapp and
    Carter, 1976) in the minute with the most speech. Down to -10 dB, that peak was 12 deviations or
    more in real pairs; in 94 % of pairs of other speech it was below 11, where the answer is NaN.
    Both are ``(N,)`` at 16 kHz; below two seconds the answer is 0.
    """
    size = _LONGEST * SAMPLE_RATE
    if len(clean) < 2 * SAMPLE_RATE:
        return 0.0
    starts = range(0, len(clean), size)
    start = max(starts, key=lambda at: float(np.square(clean[at : at + size]).sum()))
    noisy, clean = noisy[start : start + size], clean[start : start + size]
    length = fft.next_fast_len(len(clean), real=True)
    window = np.hanning(len(clean)).astype(np.float32)  # cut ends would be a shift of all
    cross = fft.rfft(noisy * window, length) * np.conj(fft.rfft(clean * window, length))
    cross /= np.abs(cross) + 1e-9 * np.abs(cross).max() + np.finfo(np.float32).tiny
    peaks = np.abs(fft.irfft(cross, length))
    at = int(peaks.argmax())
    if peaks[at] <= _PEAK * np.sqrt(np.mean(peaks**2)):
        return float("nan")
    late = at if at < length / 2 else at - length
    return late / SAMPLE_RATE if peaks[at] > 2 * peaks[0] else 0.0


def tell_doubts(good: Mapping[str, Sequence[Utterance]]) -> None:
    """Warn of sets whose folders seem to be swapped, and of files that do not fit their twins."""
    for name, utterances in good.items():
        long = [utt for utt in utterances if utt.seconds > 0.25]
        some = long[:: len(long) // 20 or 1]  # up to 40
        if len(some) > 2 and sum(_range(u.noisy) > _range(u.clean) for u in some) > len(some) / 2:
            fault = f"prepare: warning: in {name}, most noisy files have deeper pauses than"
            say(f"{fault} the clean ones: are the two swapped?")
        odd = [
            f"{utt.name} ({'not alike' if math.isnan(shift) else f'{1000 * shift:+.2f} ms'})"
            for utt in utterances
            if (shift := next(filter(None, utt.shifts), 0.0))
        ]
        if odd:
            fault = f"prepare: warning: in {name}, {len(odd)} noisy files are later (+) or earlier"
            say(f"{fault} than their clean ones, or of other speech: {', '.join(odd[:10])}")


def _range(path: str) -> float:
    """Return how far loud 10 ms (the 90th percentile) are above soft ones (the 10th)."""
    samples = read_audio(path)
    levels = np.std(samples[: len(samples) // 160 * 160].reshape(-1, 160), axis=1)
    soft, loud = np.quantile(levels, (0.1, 0.9))
    return float(loud / (soft + 1e-5))


def check_sets(sets: Mapping[str, Sequence[Utterance]]) -> None:
    """Refuse a set without a pair, and an utterance that comes twice in one, before any work."""
    for name, pairs in sets.items():
        if not pairs:
            raise FeatnormError(f"the set {name} has no pair: look at what the corpus lists for it")
        twice = [utt for utt, count in Counter(pair.name for pair in pairs).items() if count > 1]
        if twice:
            fault = f"the utterance {twice[0]} comes twice in {name} ({len(twice)} such)"
            raise FeatnormError(f"{fault}: give each pair a name of its own")


def check_apart(sets: Mapping[str, Sequence[Utterance]]) -> None:
    """Refuse an utterance in two sets; warn of a speaker in two sets."""
    seen: dict[str, tuple[str, str]] = {}
    trained, tested = set[str](), set[str]()
    for name, pairs in sets.items():
        if all(alike(pair.noisy, pair.clean) for pair in pairs):
            say(f"prepare: warning: the noisy and the clean files of {name} are the same")
        for pair in pairs:
            # In people's own folders 001.wav may be another recording in each.
            other, clean = seen.setdefault(pair.name, (name, pair.clean))
            if other != name and alike(clean, pair.clean):
                fault = f"the utterance {pair.name} is both in {other} and in {name}, of the same"
                raise FeatnormError(f"{fault} clean speech: take its two files out of one of them")
            (trained if name in ("train", "valid") else tested).update(pair.speaker.split("+"))
    if both := sorted(trained & tested):
        say(f"prepare: warning: trained and tested on the same speaker: {' '.join(both[:20])}")


def alike(one: str, other: str) -> bool:
    """Whether two files hold the same sound; what is no file is compared by its name."""
    if not (os.path.isfile(one) and os.path.isfile(other)):
        return one == other
    if Path(one).suffix == Path(other).suffix:
        return filecmp.cmp(one, other, shallow=False)
    return np.array_equal(read_any_audio(one)[0], read_any_audio(other)[0])
