#!/usr/bin/env python3
"""All of the table "On a GPU" of doc/performance.md: steps, stage 3, statistics, enhancing.

    python tools/benchmarks/gpu.py            # one GPU, about 8 minutes
    python tools/benchmarks/gpu.py --quick    # tiny models on the CPU, to see that it runs

It runs from a checkout, PYTHONPATH at its root, with Python 3.12, torch and torchaudio 2.11. What
else is missing can come as wheels, installed with --no-deps: espnet, espnet-s3prl, soundfile, soxr,
omegaconf, antlr4-python3-runtime, and what an ImportError names; and numpy below 2.4, for stage 3
with ESPnet 202511. It wants no network.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import fine_tune
import numpy as np
import soundfile
import torch
from enhance_file import random_model, weights
from timing import in_turn, print_ratios

from featnorm_se import collection
from featnorm_se.data import parallel
from featnorm_se.data.datadir import Utterance, write_data_dir
from featnorm_se.inference import jobs, together
from featnorm_se.inference.plan import Job
from featnorm_se.upstream import load_upstream
from featnorm_se.upstream.batching import like_lengths

ROOT = Path(__file__).resolve().parents[2]
RATE = 16000


def write_files(folder: Path, count: int, seconds: float, ending: str) -> list[Path]:
    """Write noise, files of lengths that differ by up to a fifth."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    paths = [folder / f"u{number:04d}{ending}" for number in range(count)]
    for number, path in enumerate(paths):
        size = int(RATE * seconds * (0.9 + 0.2 * (number % 7) / 6))
        soundfile.write(path, rng.normal(size=size).clip(-5, 5) * 0.05, RATE)
    return paths


def batches(module: Any, together: bool, run: Callable[[], Any]) -> Any:
    """Call ``run`` while a module takes files together, or one by one as on a CPU."""
    device = torch.device("cuda" if together else "cpu")
    with ExitStack() as stack:
        alike = patch.object(module, "like_lengths", lambda n, _: like_lengths(n, device))
        stack.enter_context(alike)
        for user in () if together else (collection, jobs):
            one_by_one = patch.object(user, "beside", lambda _: parallel.beside("cpu"))
            stack.enter_context(one_by_one)
        return run()


def steps(args: argparse.Namespace) -> None:
    """A fine-tuning step, at both sizes, with its peak memory."""
    for upstream, size in ((args.upstream, 16), (args.large, 8)):
        print(f"\n== step, {upstream}, {1 if args.quick else size} chunks", flush=True)
        words = ["--upstream", upstream, "--batch", str(size), "--threads", "1", "--group", "3"]
        words += ["--device", args.device, "--repetitions", "10", *["--quick"] * args.quick]
        fine_tune.main(words)


def statistics(args: argparse.Namespace, folder: Path) -> None:
    """Clean statistics at the frontend, files of like length together and one by one."""
    print("\n== clean statistics at frontend", flush=True)
    paths = write_files(folder / "clean", 4 if args.quick else 240, 4.0, ".flac")
    entries = {path.stem: str(path) for path in paths}
    upstream = load_upstream(args.upstream, "scratch")

    def run() -> Any:
        return collection.collect(upstream, entries, ["frontend"], device=args.device)

    both = {
        "one by one": lambda: batches(collection, False, run),
        "together": lambda: batches(collection, True, run),
    }
    seconds = in_turn(both, 1 if args.quick else 3)
    print_ratios(seconds, {"statistics: one by one / together": ("one by one", "together")})
    one, many = (way()["frontend"] for way in both.values())
    off = max(
        np.abs(one.mean - many.mean).max() / one.std.max(), np.abs(one.std / many.std - 1).max()
    )
    real = sum(soundfile.info(path).duration for path in paths)
    print(f"together: {real / median(seconds['together']):.0f} times real time, off by {off:.1e}")


def enhancing(args: argparse.Namespace, folder: Path) -> None:
    """A folder of 3 s files: ours together, ours one by one, ESPnet's in a loop."""
    print("\n== enhancing a folder of 3 s files", flush=True)
    from espnet2.bin.enh_inference import SeparateSpeech

    from featnorm_se.training.task import register

    register()
    paths = write_files(folder / "noisy", 3 if args.quick else 120, 3.0, ".wav")
    model = random_model(folder / "exp", args.upstream, "utterance")
    settings = jobs.Settings(model=str(model), device=args.device)
    stock: Any = SeparateSpeech(str(model / "config.yaml"), str(weights(model)), device=args.device)

    def ours(alike: bool) -> None:
        out = folder / f"together_{alike}"
        plan = [Job(path, out / path.name) for path in paths]
        batches(together, alike, lambda: jobs.enhance_into_folder(plan, out, settings, 1, True))

    def espnet() -> None:
        (folder / "espnet").mkdir(exist_ok=True)
        for path in paths:
            noisy, rate = soundfile.read(path, dtype="float32")
            (enhanced,) = stock(noisy[None], fs=rate)
            soundfile.write(folder / "espnet" / path.name, enhanced[0], rate)

    seconds = in_turn(
        {"one by one": lambda: ours(False), "together": lambda: ours(True), "ESPnet": espnet},
        1 if args.quick else 3,
    )
    pairs = {f"folder: {name} / together": (name, "together") for name in ("one by one", "ESPnet")}
    print_ratios(seconds, pairs)
    real = sum(soundfile.info(path).duration for path in paths)
    print(f"together: {real / median(seconds['together']):.0f} times real time")


def stage_3(args: argparse.Namespace, folder: Path) -> None:
    """The recipe's training as a whole: FLAC, loader, optimizer, validation, saving."""
    for length, seconds, copies in ((20480, 3.0, 100), (64000, 5.0, 48))[: 1 if args.quick else 2]:
        _stage_3(args, folder / str(length), length, seconds, 2 if args.quick else copies)


def _stage_3(
    args: argparse.Namespace, folder: Path, length: int, seconds: float, training_copies: int
) -> None:
    size = 1 if args.quick else 16  # as the recipe has it
    print(f"\n== stage 3, {size} chunks of {length / RATE} s, {args.precision}", flush=True)
    paths = write_files(folder / "speech", 4 if args.quick else 50, seconds, ".flac")
    epochs = 2
    for part, copies in (("train", training_copies), ("valid", 1)):
        rows = [(f"{path.stem}_{n}", str(path)) for n in range(copies) for path in paths]
        speech = [
            Utterance(key, path, path, part, soundfile.info(path).duration) for key, path in rows
        ]
        write_data_dir(folder / "data" / part, speech)
    expdir = folder / "stage_3"
    config = ROOT / "egs/voicebank_demand/enh1/conf/train.yaml"
    command = [sys.executable, "-m", "featnorm_se.bin.train", "--expdir", str(expdir)]
    command += ["--config", str(config), "--norm", "none"]
    command += ["--train_dir", str(folder / "data/train")]
    command += ["--valid_dir", str(folder / "data/valid")]
    command += ["--upstream", args.upstream, "--upstream_ckpt", "scratch"]
    command += ["--ngpu", str(int(args.device == "cuda"))]
    sets = [f"max_epoch={epochs}", "keep_nbest_models=10", f"chunk_length={length}"]
    sets += ["use_matplotlib=false", f"separator_conf.precision={args.precision}"]
    sets += [f"batch_size={size}", f"num_workers={0 if args.quick else 8}"]
    busy: list[tuple[float, float]] = []
    watch = None
    if args.device == "cuda":
        asked = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
        watch = subprocess.Popen([*asked, "-lms", "100"], stdout=subprocess.PIPE, text=True)

        def read(lines: Any) -> None:
            busy.extend((time.time(), float(line)) for line in lines if line.strip().isdigit())

        threading.Thread(target=read, args=(watch.stdout,), daemon=True).start()
    with open(folder / "train.log", "w+") as log:
        words = [word for pair in sets for word in ("--set", pair)]
        done = subprocess.run([*command, *words], stdout=log, stderr=log, check=False)
        log.seek(0)
        if done.returncode:
            raise SystemExit(log.read()[-2000:])
    if watch is not None:
        watch.terminate()
    # The first epoch has what is done only once.
    began, ended = ((expdir / f"{n}epoch.pth").stat().st_mtime for n in (1, epochs))
    share = [percent for moment, percent in busy if began <= moment <= ended]
    fault = f"{sum(share) / len(share):.0f} %" if share else "not measured"
    steps = len(paths) * training_copies * int(seconds * 0.9 * RATE / length) / size
    print(
        f"an epoch of about {steps:.0f} steps, with validation and saving: {ended - began:.1f} s;"
        f" the GPU computes in {fault} of it"
    )
    for line in (folder / "train.log").read_text().splitlines():
        if f":{epochs}epoch:train:" in line or f"{epochs}epoch results" in line:
            print(line[line.find("INFO") :][:300])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="tiny models on the CPU, once")
    parser.add_argument("--precision", default="auto", help="of stage 3")
    parser.add_argument("--part", action="append", help="only these: steps, stage_3, ...")
    args = parser.parse_args()
    args.device = "cpu" if args.quick else "cuda"
    args.upstream, args.large = ("wavlm_tiny",) * 2 if args.quick else ("wavlm", "wavlm_large")
    if not args.quick and not torch.cuda.is_available():
        print("no GPU here: nothing is measured")
        return
    if not args.quick:
        print(f"{torch.cuda.get_device_name(0)}, torch {torch.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        for part in (stage_3, statistics, enhancing):
            if not args.part or part.__name__ in args.part:
                part(args, Path(folder))
    if not args.part or "steps" in args.part:
        steps(args)


if __name__ == "__main__":
    main()
