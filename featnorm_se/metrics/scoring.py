"""Two sets of files in; ``scores.csv`` and ``summary.json`` out."""

from __future__ import annotations

import csv
import io
import os
import sys
import time
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TextIO

from featnorm_se.errors import FeatnormError
from featnorm_se.files import sha256_file, write_json, write_text
from featnorm_se.metrics.cache import Row, ScoreCache
from featnorm_se.metrics.listing import read_conditions, read_listing
from featnorm_se.metrics.names import (
    DEFAULT_METRICS,
    DNSMOS,
    package_versions,
    resolve,
)
from featnorm_se.metrics.summary import reason_of, summarize
from featnorm_se.metrics.worker import Task, score_tasks

PathLike = str | os.PathLike[str]


def score_set(
    ref: PathLike,
    inf: PathLike,
    output: PathLike,
    metrics: Sequence[str] = DEFAULT_METRICS,
    nj: int = 1,
    utt2cond: PathLike | None = None,
) -> dict[str, Any]:
    """Score every utterance of two sets and write ``scores.csv`` and ``summary.json``.

    Every utterance that either set names gets a row; one that cannot be scored has its reason
    there. Scores whose files and versions are the same as in an earlier call are kept.

    Args:
        ref: clean speech, a folder or an scp file.
        inf: the speech to judge, a folder or an scp file, with the same utterance names.
        output: the folder to write to.
        metrics: names of metrics.
        nj: processes.
        utt2cond: a file of ``<utt> <noise> <snr>`` lines, for means by condition.

    Returns:
        What ``summary.json`` holds.

    Raises:
        FeatnormError: an input cannot be listed, the sets have no utterance in common, a metric
            is unknown or its package is missing, or the folder cannot be written to.
    """
    if nj < 1:
        raise FeatnormError(f"--nj is {nj}, at least 1 is wanted")
    names = resolve(metrics)
    _check_packages(names)
    refs, infs = read_listing(ref), read_listing(inf)
    if not refs.keys() & infs.keys():
        raise FeatnormError(
            f"{ref} and {inf} have no utterance in common (such as {min(refs)} and"
            f" {min(infs)}): name folders or scp files with the same names"
        )
    conditions = read_conditions(utt2cond) if utt2cond else None
    rows = _score_all(refs, infs, Path(output), names, nj)
    summary = {
        "ref": os.fspath(ref),
        "inf": os.fspath(inf),
        **summarize(rows, names, conditions),
        "versions": _versions(names),
    }
    write_text(Path(output) / "scores.csv", _to_csv(rows, names))
    write_json(Path(output) / "summary.json", summary)
    return summary


def _versions(metrics: Sequence[str]) -> dict[str, str]:
    from featnorm_se import __version__

    return {"featnorm_se": __version__, **package_versions(metrics)}


def _check_packages(metrics: Sequence[str]) -> None:
    """Fail before the first utterance when a package is missing, not at each of them."""
    wanted = {
        "pesq": ("pesq", ("PESQ_WB", "PESQ_NB", "CSIG", "CBAK", "COVL")),
        "pystoi": ("pystoi", ("STOI", "ESTOI")),
        "onnxruntime": ("featnorm_se[dnsmos]", DNSMOS),
        "speechmos": ("featnorm_se[dnsmos]", DNSMOS),
    }
    for package, (mend, names) in wanted.items():
        asked = [name for name in names if name in metrics]
        # Looked for, not imported: importing costs a second, and this process scores nothing.
        if asked and find_spec(package) is None:
            raise FeatnormError(
                f"{', '.join(asked)}: the package {package} is missing: pip install '{mend}', or"
                " leave them out of --metrics"
            )


def _score_all(
    refs: Mapping[str, str],
    infs: Mapping[str, str],
    output: Path,
    metrics: tuple[str, ...],
    nj: int,
) -> list[Row]:
    """Return one row an utterance, sorted by name, from the cache or by scoring."""
    rows: dict[str, Row] = {}
    tasks: list[Task] = []
    cache = ScoreCache(output, metrics)
    try:
        for name in sorted(refs.keys() | infs.keys()):
            try:
                task = _make_task(name, refs, infs, cache)
            except FeatnormError as error:
                rows[name] = Row(name, fault=str(error))
                continue
            known = cache.find(task.key, name)
            if known is not None:
                rows[name] = known
            else:
                tasks.append(task)
        tasks.sort(key=_size, reverse=True)
        progress = Progress(len(tasks), sys.stderr)
        if rows:
            progress.note(f"{len(rows)} utterances need no scoring, {len(tasks)} do")
        for task, row in score_tasks(tasks, nj):
            if not row.fault:
                cache.add(task.key, row)
                row = cache.find(task.key, task.utt_id) or row
            rows[task.utt_id] = row
            progress.step()
    finally:
        cache.close()
    return [rows[name] for name in sorted(rows)]


def _size(task: Task) -> int:
    """Bytes of the file to score; 0 when it has just gone, which scoring will tell."""
    try:
        return os.path.getsize(task.inf)
    except OSError:
        return 0


def _make_task(
    name: str, refs: Mapping[str, str], infs: Mapping[str, str], cache: ScoreCache
) -> Task:
    """Pair the two files of an utterance and name what is still to be measured.

    Raises:
        FeatnormError: one of the two is missing.
    """
    if name not in infs:
        raise FeatnormError(f"no file to score beside the reference {refs[name]}")
    if name not in refs:
        raise FeatnormError(f"no reference beside {infs[name]}")
    for path in (refs[name], infs[name]):
        if not os.path.isfile(path):
            raise FeatnormError(f"no such audio file: {path}")
    key = f"{sha256_file(refs[name])[:32]}{sha256_file(infs[name])[:32]}"
    return Task(name, refs[name], infs[name], cache.missing(key), key)


def _to_csv(rows: Sequence[Row], metrics: Sequence[str]) -> str:
    """Write ``utt_id``, a column a metric (six decimals, empty when there is none), ``reason``."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["utt_id", *metrics, "reason"])
    for row in rows:
        values = [f"{row.scores[m]:.6f}" if m in row.scores else "" for m in metrics]
        writer.writerow([row.utt_id, *values, reason_of(row)])
    return text.getvalue()


class Progress:
    """A line that tells how far scoring is, how fast, and how long it still takes.

    Args:
        total: utterances to score.
        stream: where to write: on a terminal one line is rewritten, else a line every 10 s.
    """

    def __init__(self, total: int, stream: TextIO) -> None:
        self._total, self._stream, self._done = total, stream, 0
        self._begin = self._told = time.monotonic()
        self._terminal = stream.isatty()

    def note(self, text: str) -> None:
        """Write a line."""
        print(text, file=self._stream, flush=True)

    def step(self) -> None:
        """Count one utterance, and tell when it is time to."""
        self._done += 1
        now = time.monotonic()
        last = self._done == self._total
        if not last and now - self._told < (0.5 if self._terminal else 10.0):
            return
        self._told = now
        rate = self._done / max(now - self._begin, 1e-9)
        left = (self._total - self._done) / rate
        text = f"scored {self._done}/{self._total}, {rate:.1f} a second, {left:.0f} s left"
        end = "\n" if last or not self._terminal else ""
        start = "\r\033[K" if self._terminal else ""
        print(f"{start}{text}", end=end, file=self._stream, flush=True)
