"""Enhance audio files with a trained model."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from featnorm_se.bin import Parser, count, run
from featnorm_se.data.parallel import set_threads
from featnorm_se.errors import FeatnormError
from featnorm_se.inference.plan import Job, Outcome, is_folder, plan_jobs
from featnorm_se.inference.windows import STATS, Windowing
from featnorm_se.names import HIGH_BAND, PRECISIONS

if TYPE_CHECKING:
    from featnorm_se.inference.jobs import Settings


def get_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = Parser(
        prog="featnorm-se enhance",
        description="Enhance speech in audio files of any rate, channels, length and format that"
        " libsndfile reads, or ffmpeg where installed; each comes back at its own rate,"
        " length, channels and sample format. A model of two talkers writes two files, x_spk1.wav"
        " and x_spk2.wav for x.wav. The model hears 0 to 8 kHz. It is not"
        " causal: no live use.",
    )
    add = parser.add_argument
    add("inputs", nargs="+", metavar="INPUT", help="files, folders, or - for stdin")
    add(
        "-o",
        "--output",
        required=True,
        help="a file for one file, else a folder, as DIR/ is; - is stdout",
    )
    add(
        "--model",
        help="experiment's folder, packed .zip or Hugging Face name; without it the small model"
        " shipped inside the package, featnorm_se/models/default.zip, whose card (README.md in"
        " the zip) says how it was trained, on what, and under which licence it is",
    )
    add("--model_file", help="weights in the experiment's folder, if not the best")
    add("--device", default="auto", help="auto (a GPU if there is one), cpu or cuda")
    add("--nj", type=count, default=1, help="processes for many files; they share the cores")
    add("--batch", type=int, default=Windowing.batch, help="windows computed at once")
    add("--precision", choices=PRECISIONS, default="auto", help="bf16: faster, coarser")
    add(
        "--atten_lim",
        type=float,
        metavar="DB",
        help="take away so many decibels at most, by leaving some of the input in; 26, say,"
        " where breaths and quiet speech are taken for noise",
    )
    add(
        "--high_band",
        choices=HIGH_BAND,
        default="keep",
        help="of rates above 16 kHz: what lies above 8 kHz, which the model does not hear, is kept"
        " as far as the model keeps 4 to 8 kHz, or dropped",
    )
    add("--save_noise", action="store_true", help="also write what was taken away, x.noise.wav")
    add(
        "--stats",
        choices=STATS,
        default=Windowing.stats,
        help="files of several windows: statistics of feature normalization from the whole file,"
        " in a first pass, or from each window",
    )
    add("--window", type=float, default=Windowing.window, help="seconds of a window, 6 or more")
    add("--overwrite", action="store_true", help="do again what an output folder holds")
    return parser


def main(argv: Sequence[str]) -> None:
    """Enhance, and fail when a file failed."""
    args = get_parser().parse_args(argv)
    set_threads(args.nj)
    from featnorm_se.inference.jobs import Settings, enhance_file, enhance_into_folder, load_once
    from featnorm_se.inference.model_file import SHIPPED, count_talkers

    shipped = args.model is None
    if shipped:
        args.model = str(SHIPPED)
    names = {field.name for field in fields(Settings)}
    settings = Settings(**{key: value for key, value in vars(args).items() if key in names})
    inputs, output = [Path(name) for name in args.inputs], Path(args.output)
    if "" in (*args.inputs, args.output, args.model):
        raise FeatnormError("an empty INPUT, --output or --model: a variable that is not set?")
    piped = "-" in (*args.inputs, args.output)
    into_folder = is_folder(inputs, args.output)
    talkers = count_talkers(args.model)
    jobs = [] if piped else plan_jobs(inputs, output, args.save_noise, into_folder, talkers)
    # Once the files are known to be good to begin with.
    if shipped:
        print(f"model: {args.model}, shipped with featnorm_se", file=sys.stderr, flush=True)
    began = time.monotonic()
    if piped:
        outcomes = [_enhance_piped(args, settings, talkers)]
    elif into_folder:
        outcomes = enhance_into_folder(jobs, output, settings, args.nj, args.overwrite)
    else:
        outcomes = [enhance_file(load_once(settings), jobs[0], settings, jobs[0].source.name)]
    _report(outcomes, time.monotonic() - began)


def _enhance_piped(args: argparse.Namespace, settings: Settings, talkers: int) -> Outcome:
    """Standard input and output by way of files: both may need seeking."""
    from featnorm_se.inference.audio_stream import AudioInput
    from featnorm_se.inference.jobs import enhance_file, load_once

    if len(args.inputs) > 1 or (args.output == "-" and (args.save_noise or talkers > 1)):
        raise FeatnormError("- is for one file, and has no place for --save_noise or two talkers")
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(args.inputs[0]), Path(args.output)
        if args.inputs[0] == "-":
            source = Path(folder) / "stdin"
            with open(source, "wb") as handle:
                shutil.copyfileobj(sys.stdin.buffer, handle)
        if args.output == "-":
            target = Path(folder) / f"stdout.{AudioInput(source).header.format.lower()}"
        job = Job.of(source, target, talkers, args.save_noise)
        outcome = enhance_file(load_once(settings), job, settings, source.name)
        if args.output == "-":
            with open(target, "rb") as handle:
                shutil.copyfileobj(handle, sys.stdout.buffer)
            sys.stdout.buffer.flush()
        return outcome


def _report(outcomes: Sequence[Outcome], spent: float) -> None:
    counts = Counter(outcome.status for outcome in outcomes)
    line = ", ".join(f"{n} {status}" for status, n in sorted(counts.items()))
    if seconds := sum(outcome.seconds for outcome in outcomes):
        line += f": {seconds:.1f} s of audio in {spent:.1f} s"
        line += f", {seconds / max(spent, 1e-9):.1f} times real time"
    print(line, file=sys.stderr)
    if reasons := [outcome.reason for outcome in outcomes if outcome.status == "failed"]:
        raise FeatnormError(f"{len(reasons)} of {len(outcomes)} files failed, first: {reasons[0]}")


if __name__ == "__main__":
    raise SystemExit(run(main))
