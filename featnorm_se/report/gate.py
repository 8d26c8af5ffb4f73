"""The gate before training: the noisy test set against its published scores."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Mapping
from pathlib import Path

from featnorm_se.errors import FeatnormError

# Of the noisy VoiceBank-DEMAND test set at 16 kHz, as results tables print them: PESQ_WB 1.97 and
# STOI 0.921 (pystoi; the 0.912 that is also published is of another program).
PUBLISHED = {"PESQ_WB": 1.97, "STOI": 0.921}
TOLERANCE = 0.01
TEST_PAIRS = 824
TEST_SPEAKERS = frozenset({"p232", "p257"})
_ROUNDING = 1e-6  # scores are kept with so many decimals: 1.98 is not off by more than 0.01
_RESAMPLER = "the resampler (prepare.json says which; the default is torchaudio's, its defaults)"
_FILES = "other files than the official ones (re-encoded, trimmed, level-changed, a 16 kHz copy)"
_PROGRAM = "narrow-band PESQ, or another PESQ or STOI program"


def check_noisy(scores: str | os.PathLike[str]) -> str:
    """Compare the scores of the noisy test set with the published ones.

    Args:
        scores: the folder with ``summary.json`` and ``scores.csv``.

    Returns:
        One line for the user: that they agree, or that this is not the whole test set and that
        nothing was compared.

    Raises:
        FeatnormError: it is the whole test set and a score is off by more than ``TOLERANCE``, or
            was not measured; the message names the likely causes.
    """
    folder = Path(scores)
    try:
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        with open(folder / "scores.csv", encoding="utf-8", newline="") as handle:
            names = [row["utt_id"] for row in csv.DictReader(handle)]
    except (OSError, ValueError, KeyError) as error:
        raise FeatnormError(f"no scores of the noisy test set in {folder} ({error})") from error
    speakers = {name.split("_")[0] for name in names}
    if len(names) != TEST_PAIRS or speakers != TEST_SPEAKERS:
        return (
            f"gate: {len(names)} utterances of {len(speakers)} speakers are not the official test"
            f" set ({TEST_PAIRS} of {' and '.join(sorted(TEST_SPEAKERS))}): nothing to compare with"
        )
    found = {name: _mean(summary, name) for name in PUBLISHED}
    told = ", ".join(
        f"{name} {'not measured' if (mean := found[name]) is None else f'{mean:.3f}'}"
        f" (published {value})"
        for name, value in PUBLISHED.items()
    )
    off = [
        name
        for name, value in PUBLISHED.items()
        if (mean := found[name]) is None or abs(mean - value) > TOLERANCE + _ROUNDING
    ]
    if off:
        raise FeatnormError(
            f"the noisy test set scores {told}: {' and '.join(off)} off by more than {TOLERANCE}."
            f" Likely, the likeliest first: {'; '.join(_causes(found))}. Mend it, or train"
            " all the same with --skip_gate true"
        )
    return f"gate: the noisy test set scores {told}: as published"


def _causes(found: Mapping[str, float | None]) -> tuple[str, ...]:
    """Return what may be wrong, the likeliest first.

    Resamplers differ by hundredths. Narrow-band PESQ of noisy speech lies some tenths above
    wide-band; the programs for STOI differ by a hundredth while PESQ stays.
    """
    pesq, stoi = (found[name] for name in ("PESQ_WB", "STOI"))
    above = None if pesq is None else pesq - PUBLISHED["PESQ_WB"]
    if above is None or above > 0.3 or (abs(above) <= TOLERANCE and stoi is not None):
        return _PROGRAM, _FILES, _RESAMPLER
    if abs(above) < 0.05:
        return _RESAMPLER, _FILES, _PROGRAM
    return _FILES, _RESAMPLER, _PROGRAM


def _mean(summary: Mapping[str, Mapping[str, Mapping[str, float]]], name: str) -> float | None:
    return (summary.get("metrics", {}).get(name) or {}).get("mean")
