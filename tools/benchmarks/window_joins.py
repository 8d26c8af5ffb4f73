"""How much windows change a long signal, beside the model's own noise.

For each model: the energy of the difference from the result on the whole signal at once, relative
to that result, in dB, with the file's statistics and with each window's; and the same for the
whole signal begun 5 ms later, which is the model's own noise.

    python tools/benchmarks/window_joins.py --wav_dir FOLDER --seconds 90 --model exp/...
    python tools/benchmarks/window_joins.py --wav_dir FOLDER --upstream wavlm_tiny hubert_tiny
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from enhance_file import random_model

from featnorm_se import Enhancer
from featnorm_se.data.audio import AUDIO_SUFFIXES, read_audio
from featnorm_se.inference.windows import Windowing

LATER = 80  # samples


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--wav_dir", required=True, help="noisy files, 16 kHz mono; put together")
    parser.add_argument("--seconds", type=float, default=90.0, help="of them")
    parser.add_argument("--model", nargs="*", default=[], help="experiments' folders")
    parser.add_argument("--upstream", nargs="*", default=[], help="models with random weights")
    args = parser.parse_args()
    torch.manual_seed(0)
    names = [n for n in sorted(Path(args.wav_dir).iterdir()) if n.suffix in AUDIO_SUFFIXES]
    x = first((read_audio(str(name), 16000) for name in names), round(args.seconds * 16000))
    print(f"{'model':24}{'file':>8}{'window':>8}{'5 ms':>8}   dB, {len(x) / 16000:.0f} s")
    with tempfile.TemporaryDirectory() as folder:
        made = [random_model(Path(folder) / name, name, "utterance") for name in args.upstream]
        for model in (*map(Path, args.model), *made):
            enhance = Enhancer.from_pretrained(model)
            whole = enhance(x, 16000, Windowing(args.seconds))
            later = enhance(x[LATER:], 16000, Windowing(args.seconds))
            found = [
                decibels(enhance(x, 16000, Windowing(stats=stats)) - whole, whole)
                for stats in ("file", "window")
            ]
            # The ends are another matter: there the STFT reflects another sample.
            inner = slice(1600, -1600)
            found.append(decibels((later - whole[LATER:])[inner], whole))
            print(f"{model.name[:23]:24}" + "".join(f"{value:8.0f}" for value in found), flush=True)


def first(parts: Iterable[np.ndarray], samples: int) -> np.ndarray:
    """Put signals together, up to so many samples."""
    taken: list[np.ndarray] = []
    for part in parts:
        taken.append(part)
        if sum(map(len, taken)) >= samples:
            break
    return np.concatenate(taken)[:samples]


def decibels(a: np.ndarray, b: np.ndarray) -> float:
    """Energy of a relative to b's."""
    power = [float(np.square(v, dtype=np.float64).sum()) for v in (a, b)]
    return 10 * np.log10(max(power[0], 1e-30) / power[1])


if __name__ == "__main__":
    main()
