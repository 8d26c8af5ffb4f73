#!/usr/bin/env python3
"""Small enhancement models beside ours, on the same files: scores, size and speed.

    python local/baselines/compare.py --clean_dir CLEAN --noisy_dir NOISY --work FOLDER
    python local/baselines/compare.py --clean_dir CLEAN --noisy_dir NOISY --work FOLDER \
        --model exp/NAME --rows noisy ours

Prints a table: a row for the noisy input, each model of ``small_models.py`` that is installed, and
ours. A model whose package is missing is left out, and how to install it is told. Every model gets
the same 16 kHz files; those of 48 kHz get them resampled there and back by soxr. What a model
delays is measured on clean speech and taken off, else PESQ and STOI would blame it for that.

An empty band above 8 kHz is not what a model of 48 kHz knows, and costs DeepFilterNet3 0.7 PESQ.
``--noisy_48k_dir`` gives such models the originals, and takes only utterances that are there too.

Files and scores are left in the work folder.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from small_models import BASELINES, Baseline, MissingError, Model
from small_run import RATE, enhance, measure_delay

from featnorm_se.bin import Parser, run
from featnorm_se.data.audio import read_audio, write_audio
from featnorm_se.data.corpus import read_listing
from featnorm_se.data.scp import write_scp
from featnorm_se.errors import FeatnormError, say
from featnorm_se.metrics.names import check_packages
from featnorm_se.metrics.scoring import score_set
from featnorm_se.report.results import markdown_table

WIDE_RATE = 48000
METRICS = ("PESQ_WB", "STOI", "CSIG", "CBAK", "COVL")
DNSMOS = ("DNSMOS_OVRL", "DNSMOS_SIG", "DNSMOS_BAK")


def get_parser() -> argparse.ArgumentParser:
    """Return the script's parser."""
    parser = Parser(prog="local/baselines/compare.py", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--clean_dir", required=True, help="clean speech, 16 kHz")
    add("--noisy_dir", required=True, help="the same utterances with noise")
    add("--noisy_48k_dir", help="the noisy originals, 48 kHz, for the models that work at 48 kHz")
    add("--work", required=True, type=Path, help="folder for the enhanced files and the scores")
    add("--model", help="ours: an experiment's folder or packed model (default: the shipped one)")
    rows = ("noisy", *BASELINES, "ours")
    add("--rows", nargs="+", choices=rows, default=rows, help="only these")
    add("--limit", type=int, help="only so many utterances, the first ones by name")
    add("--nj", type=int, default=1, help="processes that score")
    add("--no_dnsmos", action="store_true", help="leave DNSMOS out, which takes longest")
    return parser


def main(argv: Sequence[str]) -> None:
    """Enhance, score and print the table.

    Raises:
        FeatnormError: the folders hold no pairs.
    """
    args = get_parser().parse_args(argv)
    clean, noisy = read_listing(args.clean_dir), read_listing(args.noisy_dir)
    wide = read_listing(args.noisy_48k_dir) if args.noisy_48k_dir else {}
    names = sorted(clean.keys() & noisy.keys() & (wide or noisy).keys())[: args.limit]
    if not names:
        raise FeatnormError(f"{args.clean_dir} and {args.noisy_dir} have no utterance in common")
    clean, noisy = ({name: paths[name] for name in names} for paths in (clean, noisy))
    metrics = (*METRICS, *(() if args.no_dnsmos or _lacks_dnsmos() else DNSMOS))
    table = [["model", "latency", *metrics, "parameters", "real-time factor"]]
    for row in args.rows:
        try:
            made, (title, latency, *cost) = _row(row, args, clean, noisy, wide)
        except MissingError as error:
            say(f"{row} is left out: {error}")
            continue
        scores = _score(_folder(args, row), clean, made, metrics, args.nj)
        table.append([title, latency, *scores, *cost])
        say(" ".join(table[-1]))
    print("\n".join(markdown_table(table, words=2)))
    print(f"\n{len(names)} utterances. {FOOTNOTE}")


FOOTNOTE = (
    "The real-time factor is CPU time over the audio's time, one thread, with"
    " resampling, without loading; latency is the model's own."
)


def _folder(args: argparse.Namespace, row: str) -> Path:
    """A row's folder; what the originals give has one of its own."""
    folder: Path = args.work / (f"{row}_48k" if args.noisy_48k_dir else row)
    return folder


def _row(
    row: str,
    args: argparse.Namespace,
    clean: dict[str, str],
    noisy: dict[str, str],
    wide: dict[str, str],
) -> tuple[dict[str, str], list[str]]:
    """Return a row's files by utterance; and its title, latency, size and real-time factor."""
    if row == "noisy":
        return noisy, ["noisy input", *"---"]
    baseline = _ours(args.model) if row == "ours" else BASELINES[row]
    folder = _folder(args, row)
    try:
        facts = _enhance_all(baseline, folder, clean, noisy, wide)
    except MissingError as error:
        if not baseline.packages:
            raise
        raise MissingError(
            f"{error}: pip install --no-deps {' '.join(baseline.packages)}"
        ) from error
    return {name: str(_target(folder, name)) for name in noisy}, facts


def _ours(model: str | None) -> Baseline:
    """Our model as one of the models."""
    from featnorm_se.inference.model_file import SHIPPED

    source = Path(model) if model else SHIPPED

    def load() -> Model:
        import torch

        from featnorm_se import Enhancer

        torch.set_num_threads(1)
        enhancer = Enhancer.from_pretrained(source)
        count = sum(weight.numel() for weight in enhancer.separator.parameters())
        return Model(lambda: enhancer, RATE, count)

    title = f"ours ({source.name})" if model else "ours (shipped)"
    return Baseline(title, (), load, "whole file or 20 s")


def _enhance_all(
    baseline: Baseline,
    folder: Path,
    clean: dict[str, str],
    noisy: dict[str, str],
    wide: dict[str, str],
) -> list[str]:
    """Enhance all; return the model's title, latency, size and real-time factor."""
    model = baseline.load()
    delay = measure_delay(model, [read_audio(path, RATE) for path in list(clean.values())[:3]])
    say(f"{baseline.title}: delay {delay} samples at {model.rate} Hz; {len(noisy)} files to do")
    sources, rate = (wide, WIDE_RATE) if wide and model.rate == WIDE_RATE else (noisy, RATE)
    spent = seconds = 0.0
    for name in noisy:
        x = read_audio(sources[name], rate)
        y, time = enhance(model, delay, x, rate)
        write_audio(_target(folder, name), y, RATE)
        spent, seconds = spent + time, seconds + len(x) / rate
    size = "-" if model.parameters is None else f"{model.parameters / 1e6:.2f} M"
    return [baseline.title, baseline.latency, size, f"{spent / seconds:.3f}"]


def _target(folder: Path, name: str) -> Path:
    return folder / "enhanced" / f"{name}.flac"


def _lacks_dnsmos() -> bool:
    try:
        check_packages(DNSMOS)
    except FeatnormError as error:
        say(f"DNSMOS is left out: {error}")
        return True
    return False


def _score(
    folder: Path, clean: dict[str, str], made: dict[str, str], metrics: Sequence[str], nj: int
) -> list[str]:
    """Score a row; return the means as text."""
    for name, paths in (("clean", clean), ("made", made)):
        write_scp(folder / f"{name}.scp", {k: str(Path(p).resolve()) for k, p in paths.items()})
    summary = score_set(folder / "clean.scp", folder / "made.scp", folder / "scores", metrics, nj)
    for failure in summary["failures"]:
        say(f"not scored: {folder.name} {failure['utt_id']}: {failure['reason']}")
    means = [summary["metrics"].get(name, {}).get("mean") for name in metrics]
    return ["-" if mean is None else f"{mean:.3f}" for mean in means]


if __name__ == "__main__":
    raise SystemExit(run(main))
