#!/usr/bin/env python3
"""Stage 1: resampling and formatting a corpus from 48 to 16 kHz, against resampy.

The peer does what ESPnet's ``format_wav_scp.py`` does to every file, and no more: read it with
soundfile, ``resampy.resample(wave, rate, fs, axis=0)``, write it as 16-bit wav. Ours is the command
of stage 1, which also checks every pair and writes the data directories. One process each.

resampy is no part of set-up: ``python -m pip install resampy`` (numba, which it needs, is there).
"""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
from timing import Cost, command_cost, costs_in_turn, print_table

RATE, TARGET = 48000, 16000
RESAMPY = """
import sys
import resampy, soundfile
for line in open(sys.argv[1]):
    key, path = line.split()
    wave, rate = soundfile.read(path)
    wave = resampy.resample(wave, rate, int(sys.argv[3]), axis=0)
    soundfile.write(f"{sys.argv[2]}/{key}.wav", wave, int(sys.argv[3]), subtype="PCM_16")
"""
ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "NUMBA")}


def make_corpus(folder: Path, pairs: int, seconds: float) -> Path:
    """Write data directories of 48 kHz pairs; return a list of all files for the peer."""
    import soundfile

    rng = np.random.default_rng(0)
    everything = []
    for name, count in (("train", pairs - 2), ("valid", 1), ("test", 1)):
        data = folder / "kaldi" / name
        data.mkdir(parents=True)
        lines: dict[str, list[str]] = {"wav.scp": [], "spk1.scp": [], "utt2spk": []}
        for index in range(count):
            key = f"{name}_{index:05d}"
            for kind, scp in (("noisy", "wav.scp"), ("clean", "spk1.scp")):
                path = folder / f"{key}_{kind}.wav"
                soundfile.write(path, rng.normal(size=int(RATE * seconds)) * 0.05, RATE)
                lines[scp].append(f"{key} {path}\n")
                everything.append(f"{key}_{kind} {path}\n")
            lines["utt2spk"].append(f"{key} {name}\n")
        for scp, told in lines.items():
            (data / scp).write_text("".join(told))
    (folder / "all.scp").write_text("".join(everything))
    return folder / "all.scp"


def ours(folder: Path) -> Cost:
    """Run stage 1 into fresh folders."""
    for part in ("data", "dump"):
        shutil.rmtree(folder / part, ignore_errors=True)
    command = [sys.executable, "-m", "featnorm_se.bin.prepare", "--corpus", "kaldi", "--nj", "1"]
    command += ["--db_root", str(folder / "kaldi"), "--output", str(folder / "data")]
    return command_cost([*command, "--wav_dir", str(folder / "dump")], ONE_THREAD)


def theirs(folder: Path, listing: Path) -> Cost:
    """Run the peer into a fresh folder."""
    shutil.rmtree(folder / "peer", ignore_errors=True)
    (folder / "peer").mkdir()
    command = [sys.executable, "-c", RESAMPY, str(listing), str(folder / "peer"), str(TARGET)]
    return command_cost(command, ONE_THREAD)


def main() -> None:
    """Time and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=200, help="of noisy and clean files")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each file")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="four pairs, once")
    args = parser.parse_args()
    if args.quick:
        args.pairs, args.seconds, args.repetitions = 4, 1.0, 1
    has_peer = importlib.util.find_spec("resampy") is not None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        listing = make_corpus(folder, args.pairs, args.seconds)
        runs = {"ours": partial(ours, folder)}
        if has_peer:
            runs["resampy"] = partial(theirs, folder, listing)
        costs = costs_in_turn(runs, args.repetitions, warm_up=not args.quick)
    audio = [Cost(2 * args.pairs * args.seconds)] * args.repetitions
    what = f"{2 * args.pairs} files of {args.seconds:g} s"
    pairs = {f"{what}: their length / stage 1": ("audio", "ours")}
    if has_peer:
        pairs[f"{what}: resampy as ESPnet calls it / stage 1"] = ("resampy", "ours")
    else:
        print("resampy, the peer, is not installed: python -m pip install resampy")
    print_table({**costs, "audio": audio}, pairs)


if __name__ == "__main__":
    main()
