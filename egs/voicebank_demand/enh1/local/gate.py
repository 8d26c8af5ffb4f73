#!/usr/bin/env python3
"""The gate before training: the noisy test set against its published scores."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from featnorm_se.bin import Parser, run
from featnorm_se.errors import FeatnormError
from featnorm_se.files import read_json
from featnorm_se.report.experiments import read_scores

# Of the noisy VoiceBank-DEMAND test set at 16 kHz, as results tables print them: PESQ_WB 1.97 and
# STOI 0.921 (pystoi; the 0.912 that is also published is of another program).
PUBLISHED = {"PESQ_WB": 1.97, "STOI": 0.921}
TOLERANCE = 0.01
TEST_PAIRS = 824
TEST_SPEAKERS = frozenset({"p232", "p257"})
_ROUNDING = 1e-6  # scores are kept with so many decimals: 1.98 is not off by more than 0.01
_CAUSES = (
    "the resampler (prepare.json says which; the default is torchaudio's, its defaults)",
    "other files than the official ones (re-encoded, trimmed, level-changed, a 16 kHz copy)",
    "narrow-band PESQ, or another PESQ or STOI program",
)


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
    metrics = read_json(folder / "summary.json")["metrics"]
    names = list(read_scores(folder / "scores.csv"))
    speakers = {name.split("_")[0] for name in names}
    if len(names) != TEST_PAIRS or speakers != TEST_SPEAKERS:
        return (
            f"gate: these {len(names)} utterances are not the official test set"
            f" ({TEST_PAIRS} of {' and '.join(sorted(TEST_SPEAKERS))}): nothing to compare with"
        )
    off, words = [], []
    for name, published in PUBLISHED.items():
        mean = metrics.get(name, {}).get("mean")
        words.append(
            f"{name} {'not measured' if mean is None else f'{mean:.3f}'} (published {published})"
        )
        if mean is None or abs(mean - published) > TOLERANCE + _ROUNDING:
            off.append(name)
    line = f"the noisy test set scores {', '.join(words)}"
    if off:
        raise FeatnormError(
            f"{line}: {' and '.join(off)} off by more than {TOLERANCE}."
            f" Likely causes: {'; '.join(_CAUSES)}. Mend it, or train all the same with"
            " --skip_gate true"
        )
    return f"gate: {line}: as published"


def get_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = Parser(
        prog="local/gate.py",
        description="Compare PESQ_WB and STOI of the noisy VoiceBank-DEMAND test set with the"
        " published values. Status 1 when they are off by more than 0.01: then whatever is trained"
        " could not be compared with anybody's.",
    )
    parser.add_argument("--scores", required=True, help="folder of its summary.json and scores.csv")
    return parser


def main(argv: Sequence[str]) -> None:
    """Compare and print."""
    args = get_parser().parse_args(argv)
    print(check_noisy(args.scores))


if __name__ == "__main__":
    raise SystemExit(run(main))
