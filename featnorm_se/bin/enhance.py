"""Enhance audio files with a trained model."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from featnorm_se.bin import Parser, run
from featnorm_se.errors import FeatnormError

if TYPE_CHECKING:
    from featnorm_se.inference.jobs import Outcome, Settings


def get_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = Parser(
        prog="featnorm-se enhance",
        description="Enhance speech in audio files of any rate, channels, length and format that"
        " libsndfile reads; each comes back at its own rate, length, channels and sample format."
        " The model hears and gives back 0 to 8 kHz. It is not causal: no live use.",
    )
    add = parser.add_argument
    add("inputs", nargs="+", metavar="INPUT", help="files, folders, or - for stdin")
    add("-o", "--output", required=True, help="a file for one file, else a folder; - is stdout")
    add(
        "--model",
        help="experiment's folder, packed .zip or Hugging Face name (default: the small model"
        " shipped inside the package, featnorm_se/models/default.zip; its card, README.md in the"
        " zip, says how it was trained, on what, and under which licence it is)",
    )
    add("--model_file", help="weights in the experiment's folder (default: the best)")
    add("--device", default="auto", help="auto (a GPU if there is one), cpu or cuda")
    add("--nj", type=int, default=1, help="processes for many files, one thread each (default: 1)")
    add("--batch", type=int, default=1, help="windows computed at once (default: 1)")
    add("--bf16", action="store_true", help="bfloat16, if the processor has it: faster, coarser")
    add(
        "--atten_lim",
        type=float,
        metavar="DB",
        help="take away so many decibels at most, by leaving some of the input in; 26, say,"
        " where breaths and quiet speech are taken for noise (default: no limit)",
    )
    add("--save_noise", action="store_true", help="also write what was taken away, x.noise.wav")
    add(
        "--stats",
        default="file",
        help="files of several windows: statistics over time from the whole file in a first pass,"
        " or from each window: file or window (default: file)",
    )
    add("--window", type=float, default=20.0, help="seconds of a window (default: 20)")
    add("--overwrite", action="store_true", help="do again what an output folder holds")
    return parser


def main(argv: Sequence[str]) -> None:
    """Enhance, and fail when a file failed.

    Raises:
        FeatnormError: bad options, no such model, or files that could not be done.
    """
    args = get_parser().parse_args(argv)
    if args.nj < 1:
        raise FeatnormError(f"--nj {args.nj}: at least one process is needed")
    from featnorm_se.inference.enhancer import share_left_in
    from featnorm_se.inference.jobs import Settings
    from featnorm_se.inference.loading import shipped_model
    from featnorm_se.inference.longform import Windowing
    from featnorm_se.inference.windows import plan_windows

    windowing = Windowing(args.window, stats=args.stats, batch=args.batch)
    # Bad values are told before any work.
    plan_windows(1, windowing.seconds, windowing.overlap)
    share_left_in(args.atten_lim)
    model = str(shipped_model()) if args.model is None else args.model
    settings = Settings(model, args.model_file, args.device, args.bf16, args.atten_lim, windowing)
    began = time.monotonic()
    if "-" in (*args.inputs, args.output):
        outcomes = _piped(args, settings)
    else:
        outcomes = _files(args, settings)
    _report(outcomes, time.monotonic() - began)


def _files(args: argparse.Namespace, settings: Settings) -> list[Outcome]:
    from featnorm_se.inference.jobs import claim_folder, enhance_files, is_folder, plan_jobs

    inputs, output = [Path(name) for name in args.inputs], Path(args.output)
    jobs = plan_jobs(inputs, output, args.save_noise)
    settings = replace(settings, tell_failed=len(jobs) > 1)
    if is_folder(inputs, output):
        claim_folder(output, settings.made_with(), jobs, args.overwrite)
        settings = replace(settings, skip_done=True)
    _tell_model(args.model, settings)
    return enhance_files(jobs, settings, args.nj)


def _piped(args: argparse.Namespace, settings: Settings) -> list[Outcome]:
    """Standard input and output by way of files: both may need seeking."""
    from featnorm_se.inference.audio_stream import AudioInput
    from featnorm_se.inference.jobs import Job, enhance_files, noise_path

    if len(args.inputs) > 1 or (args.output == "-" and args.save_noise):
        raise FeatnormError("- is for one file, and has no place for --save_noise")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(args.inputs[0])
        if args.inputs[0] == "-":
            source = Path(folder) / "stdin"
            with open(source, "wb") as handle:
                shutil.copyfileobj(sys.stdin.buffer, handle)
        target = Path(args.output)
        if args.output == "-":
            header = AudioInput(source, "stdin" if args.inputs[0] == "-" else None).header
            target = Path(folder) / f"stdout.{header.format.lower()}"
        noise = noise_path(target) if args.save_noise else None
        name = "stdin" if args.inputs[0] == "-" else ""
        job = Job(source, target, noise, name)
        _tell_model(args.model, settings)
        outcomes = enhance_files([job], replace(settings, tell_failed=False))
        if args.output == "-" and target.is_file():
            with open(target, "rb") as handle:
                shutil.copyfileobj(handle, sys.stdout.buffer)
            sys.stdout.buffer.flush()
        return outcomes


def _tell_model(named: str | None, settings: Settings) -> None:
    """Say which model nobody has named, once the files are known to be good to begin with."""
    if named is None:
        print(f"model: {settings.model}, shipped with featnorm_se", file=sys.stderr, flush=True)


def _report(outcomes: Sequence[Outcome], spent: float) -> None:
    counts = {status: 0 for status in ("enhanced", "skipped", "failed")}
    for outcome in outcomes:
        counts[outcome.status] += 1
    failed = [outcome for outcome in outcomes if outcome.status == "failed"]
    if len(outcomes) == len(failed) == 1:
        raise FeatnormError(failed[0].reason)
    seconds = sum(outcome.seconds for outcome in outcomes)
    told = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    if seconds:
        told += f": {seconds:.1f} s of audio in {spent:.1f} s,"
        told += f" {seconds / max(spent, 1e-9):.1f} times real time"
    print(told, file=sys.stderr)
    if failed:
        raise FeatnormError(
            f"{len(failed)} of {len(outcomes)} files failed, first: {failed[0].reason}"
        )


if __name__ == "__main__":
    raise SystemExit(run(main))
