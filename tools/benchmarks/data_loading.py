#!/usr/bin/env python3
"""How long training waits for its chunks, read from FLAC files, beside the step itself.

The loader is the one that stage 3 builds (ESPnet's chunk iterator; it reads whole utterances and
uses all their chunks), the step is forward, backward and Adam of the model it feeds. The first
batches, which fill the iterator's cache of chunks, are not counted.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timing import Cost, print_table

STFT = (512, 160, 400)  # transform, hop, window


def make_corpus(folder: Path, seconds: float, chunk: float) -> None:
    """Write pairs of FLAC files of 3 to 15 s, ``seconds`` of them in all, with their scp files."""
    import soundfile

    rng = np.random.default_rng(0)
    lines: dict[str, list[str]] = {"wav.scp": [], "spk1.scp": []}
    index = 0
    while seconds > 0:
        length = float(rng.uniform(max(3.0, chunk + 0.1), 15.0))
        for scp, told in lines.items():
            path = folder / f"{scp[:3]}{index}.flac"
            soundfile.write(path, rng.normal(size=int(16000 * length)) * 0.05, 16000)
            told.append(f"u{index:05d} {path}\n")
        index, seconds = index + 1, seconds - length
    for scp, told in lines.items():
        (folder / scp).write_text("".join(told))


def batches(folder: Path, args: argparse.Namespace) -> Iterator[torch.Tensor]:
    """Yield noisy batches for ever, as stage 3 is given them."""
    warnings.simplefilter("ignore", FutureWarning)
    from espnet2.train.distributed_utils import DistributedOption

    from featnorm_se.training.task import FeatNormTask

    sources = []
    for scp, name in (("wav.scp", "speech_mix"), ("spk1.scp", "speech_ref1")):
        sources += ["--train_data_path_and_name_and_type", f"{folder / scp},{name},sound"]
    command = ["--output_dir", str(folder), "--iterator_type", "chunk", *sources]
    command += ["--chunk_length", str(int(16000 * args.seconds)), "--chunk_shift_ratio", "1.0"]
    command += ["--batch_size", str(args.batch), "--num_workers", str(args.workers)]
    command += ["--num_cache_chunks", str(32 * args.batch), "--max_epoch", "1000"]
    options = FeatNormTask.get_parser().parse_args(command)
    factory = FeatNormTask.build_iter_factory(options, DistributedOption(), mode="train")
    epoch = 0
    while True:
        epoch += 1
        for _, batch in factory.build_iter(epoch):
            yield batch["speech_mix"]


def model(upstream: str) -> tuple[Any, torch.optim.Optimizer]:
    """Return a separator with random weights and its optimizer."""
    from featnorm_se.model.separator import FeatNormSeparator

    separator = FeatNormSeparator(257, upstream=upstream, norm="none").train()
    trained = [p for p in separator.parameters() if p.requires_grad]
    return separator, torch.optim.Adam(trained, 1e-5)


def step(separator: Any, optimizer: torch.optim.Optimizer, wav: torch.Tensor) -> None:
    """Train one step."""
    fft, hop, window = STFT
    taper = torch.hann_window(window)
    spectrum = torch.stft(wav, fft, hop, window, taper, return_complex=True).transpose(1, 2)
    lengths = torch.full((len(wav),), spectrum.shape[1])
    optimizer.zero_grad(set_to_none=True)
    (enhanced,), _, _ = separator(spectrum, lengths)
    enhanced.abs().mean().backward()
    optimizer.step()


def measure(upstream: str, folder: Path, args: argparse.Namespace) -> tuple[list[Cost], list[Cost]]:
    """Return what the waits and what the whole steps took."""
    loader = batches(folder, args)
    parts = model(upstream)
    for _ in range(2):
        step(*parts, next(loader))
    waits, steps = [], []
    for _ in range(args.repetitions):
        started, idle = time.perf_counter(), time.process_time()
        wav = next(loader)
        waited, busy = time.perf_counter(), time.process_time()
        step(*parts, wav)
        ended, done = time.perf_counter(), time.process_time()
        waits.append(Cost(waited - started, busy - idle))
        steps.append(Cost(ended - started, done - busy))
    return waits, steps


def loading_alone(folder: Path, args: argparse.Namespace) -> list[Cost]:
    """Return what a batch costs when nothing is trained and this process does the reading."""
    alone = argparse.Namespace(**{**vars(args), "workers": 0})
    loader = batches(folder, alone)
    next(loader)
    rounds, per_round = args.repetitions, 32  # a cache's worth of batches, refilled in each
    costs = []
    for _ in range(rounds):
        started, busy = time.perf_counter(), time.process_time()
        for _ in range(per_round):
            next(loader)
        seconds, cpu = time.perf_counter() - started, time.process_time() - busy
        costs.append(Cost(seconds / per_round, cpu / per_round))
    return costs


def main() -> None:
    """Time and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--upstreams", nargs="+", default=["wavlm", "tera"])
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=4.0, help="of a chunk")
    parser.add_argument("--workers", type=int, default=2, help="processes that read")
    parser.add_argument("--corpus_seconds", type=float, default=1200.0)
    parser.add_argument("--repetitions", type=int, default=10, help="steps that are timed")
    parser.add_argument("--quick", action="store_true", help="short chunks of a small model")
    args = parser.parse_args()
    if args.quick:
        args.upstreams, args.seconds, args.batch = ["tera"], 1.0, 2
        args.corpus_seconds, args.repetitions = 60.0, 2
    costs: dict[str, list[Cost]] = {}
    pairs = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_corpus(folder, args.corpus_seconds, args.seconds)
        costs["loading"] = loading_alone(folder, args)
        shape = f"{args.batch} chunks of {args.seconds:g} s"
        for upstream in args.upstreams:
            costs[f"wait {upstream}"], costs[upstream] = measure(upstream, folder, args)
            pairs[f"waiting for {shape}, {args.workers} workers / step of {upstream}"] = (
                f"wait {upstream}",
                upstream,
            )
            pairs[f"reading {shape} in one process / step of {upstream}"] = ("loading", upstream)
    print_table(costs, pairs)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak of the training process {peak:.0f} MiB; load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
