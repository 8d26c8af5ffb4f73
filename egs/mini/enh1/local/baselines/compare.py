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

The work folder keeps what was enhanced and scored: a second call computes only what is new.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray
from small_models import BASELINES, Baseline, MissingError, Model
from small_run import RATE, enhance, measure_delay

from featnorm_se.bin import Parser, run
from featnorm_se.data.audio import read_audio
from featnorm_se.data.corpus import read_listing
from featnorm_se.errors import FeatnormError
from featnorm_se.files import atomic_path, sha256_file, write_json, write_text
from featnorm_se.metrics.scoring import score_set

WIDE_RATE = 48000
METRICS = ("PESQ_WB", "STOI", "CSIG", "CBAK", "COVL")
DNSMOS = ("DNSMOS_OVRL", "DNSMOS_SIG", "DNSMOS_BAK")
# Raise this when what is done around the models changes: cached files are then made anew.
VERSION = 1


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
    add("--rows", nargs="+", choices=rows, default=rows, help="only these (default: all)")
    add("--limit", type=int, help="only so many utterances, the first ones by name")
    add("--nj", type=int, default=1, help="processes that score (default: 1)")
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
    lines = [_line(["model", *metrics, "parameters", "real-time factor", "latency"])]
    lines.append(_line(["---", *["---:"] * (len(metrics) + 2), "---"]))
    for row in args.rows:
        try:
            made, facts = _row(row, args, clean, noisy, wide)
        except MissingError as error:
            _tell(f"{row} is left out: {error}")
            continue
        scores = _score(_folder(args, row), clean, made, metrics, args.nj)
        lines.append(_line([facts["title"], *scores, *_cost(facts)]))
        _tell(lines[-1])
    print("\n".join(lines))
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
) -> tuple[dict[str, str], dict[str, Any]]:
    """Return a row's files by utterance and what is known of its model."""
    if row == "noisy":
        return noisy, {"title": "noisy input"}
    baseline = _ours(args.model) if row == "ours" else BASELINES[row]
    folder = _folder(args, row)
    source = str(Path(args.noisy_48k_dir or args.noisy_dir).resolve())
    try:
        _claim(folder, {"version": VERSION, "noisy": source, **_made_by(baseline)})
        facts = _enhance_all(baseline, folder, clean, noisy, wide)
    except MissingError as error:
        if not baseline.packages:
            raise
        raise MissingError(
            f"{error}: pip install --no-deps {' '.join(baseline.packages)}"
        ) from error
    return {name: str(_target(folder, name)) for name in noisy}, facts


def _ours(model: str | None) -> Baseline:
    """Our model as one of the models; its identity, which the cache needs, stands for packages."""
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
    return Baseline(title, (), load, "whole file or 20 s", _identity(source))


def _identity(source: Path) -> str:
    from featnorm_se.inference.model_file import find_weights

    return sha256_file(find_weights(source) if source.is_dir() else source)


def _made_by(baseline: Baseline) -> dict[str, str]:
    """Return what a baseline's output depends on: the versions of its packages, or our weights."""
    try:
        return {name: metadata.version(name) for name in baseline.packages} or {
            "model": baseline.identity
        }
    except metadata.PackageNotFoundError as error:
        raise MissingError(f"the package {error.name} is missing") from error


def _claim(folder: Path, made_by: dict[str, Any]) -> None:
    """Empty a row's folder when it holds what another version made."""
    record = folder / "made_by.json"
    if record.is_file() and json.loads(record.read_text(encoding="utf-8")) == made_by:
        return
    for name in ("enhanced", "scores"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for name in ("times.tsv", "facts.json"):
        (folder / name).unlink(missing_ok=True)
    write_json(record, made_by)


def _enhance_all(
    baseline: Baseline,
    folder: Path,
    clean: dict[str, str],
    noisy: dict[str, str],
    wide: dict[str, str],
) -> dict[str, Any]:
    """Enhance what is not there yet; return the model's facts, with its real-time factor."""
    todo = [name for name in noisy if not _target(folder, name).is_file()]
    facts_file = folder / "facts.json"
    if todo or not facts_file.is_file():
        model = baseline.load()
        delay = measure_delay(model, [read_audio(path, RATE) for path in list(clean.values())[:3]])
        facts = {
            "title": baseline.title,
            "latency": baseline.latency,
            "parameters": model.parameters,
        }
        write_json(facts_file, {**facts, "delay_samples": delay, "rate": model.rate})
        _tell(
            f"{baseline.title}: delay {delay} samples at {model.rate} Hz; {len(todo)} files to do"
        )
        sources, rate = (wide, WIDE_RATE) if wide and model.rate == WIDE_RATE else (noisy, RATE)
        for name in todo:
            _enhance_one(model, delay, read_audio(sources[name], rate), rate, folder, name)
    times = [line.split("\t") for line in (folder / "times.tsv").read_text().splitlines()]
    spent, audio = (sum(float(line[column]) for line in times) for column in (1, 2))
    return {**json.loads(facts_file.read_text(encoding="utf-8")), "factor": spent / audio}


def _enhance_one(
    model: Model, delay: int, x: NDArray[np.float32], rate: int, folder: Path, name: str
) -> None:
    y, spent = enhance(model, delay, x, rate)
    with atomic_path(_target(folder, name)) as temporary:
        soundfile.write(temporary, np.clip(y, -1, 1), RATE, subtype="PCM_16")
    with open(folder / "times.tsv", "a", encoding="utf-8") as handle:
        handle.write(f"{name}\t{spent:.6f}\t{len(x) / rate:.6f}\n")


def _target(folder: Path, name: str) -> Path:
    return folder / "enhanced" / f"{name}.flac"


def _lacks_dnsmos() -> bool:
    from importlib.util import find_spec

    missing = [name for name in ("speechmos", "onnxruntime") if find_spec(name) is None]
    if missing:
        _tell(f"DNSMOS is left out: pip install --no-deps {' '.join(missing)}")
    return bool(missing)


def _score(
    folder: Path, clean: dict[str, str], made: dict[str, str], metrics: Sequence[str], nj: int
) -> list[str]:
    """Score a row; return the means as text."""
    for name, paths in (("clean", clean), ("made", made)):
        listing = "".join(f"{key} {Path(path).resolve()}\n" for key, path in paths.items())
        write_text(folder / f"{name}.scp", listing)
    summary = score_set(folder / "clean.scp", folder / "made.scp", folder / "scores", metrics, nj)
    for failure in summary["failures"]:
        _tell(f"not scored: {folder.name} {failure['utt_id']}: {failure['reason']}")
    means = [summary["metrics"].get(name, {}).get("mean") for name in metrics]
    return ["-" if mean is None else f"{mean:.3f}" for mean in means]


def _cost(facts: dict[str, Any]) -> list[str]:
    if "factor" not in facts:
        return ["-", "-", "-"]
    count = facts["parameters"]
    size = "-" if count is None else f"{count / 1e6:.2f} M"
    return [size, f"{facts['factor']:.3f}", facts["latency"]]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(run(main))
