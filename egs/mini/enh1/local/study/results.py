"""What trained runs left, in two small files: a table of scores and a record a run.

``scores.csv.xz`` has a line an utterance: set, run, test set, utterance, its scores, and why there
are none. ``runs.jsonl.xz`` has a line a run: its ``run.json``, the ``summary.json`` of each test
set, and the tables of ``features/`` as they are. Together they give the experiments' folders back.
"""

from __future__ import annotations

import csv
import json
import lzma
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from featnorm_se.errors import FeatnormError
from featnorm_se.files import atomic_path, csv_text, read_json, write_json, write_text
from featnorm_se.report.experiments import SCORES_PREFIX

SCORES, RUNS = "scores.csv.xz", "runs.jsonl.xz"
_KEYS = ("set", "run", "testset", "utt_id")


def pack(root: Path, sets: Iterable[str], output: Path) -> int:
    """Write the two files of all runs in ``root/<set>``.

    Args:
        root: holds a folder of experiments a set.
        sets: which.
        output: the folder of the two files.

    Returns:
        How many runs there are.

    Raises:
        FeatnormError: there are none, or a file cannot be read.
    """
    records: list[dict[str, Any]] = []
    lines: list[dict[str, str]] = []
    metrics: list[str] = []
    for folder in [path for name in sets for path in sorted((root / name).iterdir())]:
        record = _read_run(folder)
        records.append({"set": folder.parent.name, "run": folder.name, **record})
        for testset in record["summaries"]:
            path = folder / f"{SCORES_PREFIX}{testset}" / "scores.csv"
            with open(path, encoding="utf-8", newline="") as handle:
                rows = list(csv.DictReader(handle))
            keys = {"set": folder.parent.name, "run": folder.name, "testset": testset}
            lines += [keys | row for row in rows]
            metrics += [m for m in rows[0] if m not in ("utt_id", "reason", *metrics)]
    if not records:
        raise FeatnormError(f"{root} holds no runs of {' '.join(sets)}")
    _write(output / SCORES, _table(lines, [*_KEYS, *metrics, "reason"]))
    _write(output / RUNS, "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records))
    return len(records)


def _read_run(folder: Path) -> dict[str, Any]:
    """Read all of a run but its scores."""
    run = folder / "run.json"
    return {
        "record": read_json(run) if run.is_file() else None,
        "summaries": {
            path.parent.name.removeprefix(SCORES_PREFIX): read_json(path)
            for path in sorted(folder.glob(f"{SCORES_PREFIX}*/summary.json"))
        },
        "features": {
            path.name: path.read_text(encoding="utf-8")
            for path in sorted(folder.glob("features/*.csv"))
        },
    }


def unpack(source: Path, output: Path, sets: Iterable[str] = ()) -> list[Path]:
    """Write the runs' folders to ``output/<set>/<run>``; one that is there is left as it is.

    Args:
        source: the folder of the two files.
        output: gets a folder of experiments a set.
        sets: which; none: all.

    Returns:
        The folders written.

    Raises:
        FeatnormError: a file cannot be read, or a set is not in it.
    """
    records = [json.loads(line) for line in _read(source / RUNS)]
    wanted, known = list(sets), {record["set"] for record in records}
    if missing := [name for name in wanted if name not in known]:
        raise FeatnormError(
            f"{source} has no set {missing[0]}; there are {' '.join(sorted(known))}"
        )
    scores: dict[tuple[str, ...], list[dict[str, str]]] = {}
    for row in csv.DictReader(_read(source / SCORES)):
        scores.setdefault((row["set"], row["run"], row["testset"]), []).append(row)
    written = []
    for record in records:
        folder = output / record["set"] / record["run"]
        if folder.exists() or (wanted and record["set"] not in wanted):
            continue
        for testset, summary in record["summaries"].items():
            place = folder / f"{SCORES_PREFIX}{testset}"
            rows = scores[record["set"], record["run"], testset]
            columns = ["utt_id", *summary["metrics"], "reason"]  # as scoring writes them
            write_text(place / "scores.csv", _table(rows, columns))
            write_json(place / "summary.json", summary)
        for name, text in record["features"].items():
            write_text(folder / "features" / name, text)
        if record["record"] is not None:
            write_json(folder / "run.json", record["record"])
        written.append(folder)
    return written


def _table(rows: list[dict[str, str]], columns: list[str]) -> str:
    return csv_text([columns, *([row.get(name) for name in columns] for row in rows)])


def _write(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(lzma.compress(text.encode("utf-8"), preset=9))


def _read(path: Path) -> Iterator[str]:
    try:
        with lzma.open(path, "rt", encoding="utf-8", newline="") as handle:
            yield from handle
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise FeatnormError(f"cannot read {path}: {error}") from error
