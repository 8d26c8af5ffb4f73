"""Scores kept beside the results, so that what is scored already is not scored again."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from featnorm_se.errors import FeatnormError
from featnorm_se.metrics.names import FORMULAE_VERSION, METRICS, package_versions

CACHE_NAME = "scores.cache.jsonl"


@dataclass
class Row:
    """The outcome of one utterance.

    Attributes:
        utt_id: its name.
        scores: the values by metric.
        reasons: why the other metrics have none.
        fault: why the utterance as a whole has none; empty when it has.
        cut: samples taken off the longer file's end to make the lengths equal.
    """

    utt_id: str
    scores: dict[str, float] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    fault: str = ""
    cut: int = 0


class ScoreCache:
    """Rows by the contents of their two files, appended as they come.

    A line of the file is one row; a line cut short by a kill is left out. A score counts only
    while the version of what computed it is the same. Only one process may hold a folder.

    Args:
        folder: where the file is; it is made when missing.
        metrics: the metrics that will be asked for.

    Raises:
        FeatnormError: the folder cannot be written to, or another process is scoring into it.
    """

    def __init__(self, folder: str | os.PathLike[str], metrics: Sequence[str]) -> None:
        path = Path(folder) / CACHE_NAME
        versions = package_versions(metrics)
        self._metrics = tuple(metrics)
        self._stamps = {
            name: f"{FORMULAE_VERSION} {versions.get(METRICS[name].package, '')}".strip()
            for name in metrics
        }
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(path, "a+", encoding="utf-8")  # noqa: SIM115 (held till close)
        except OSError as error:
            raise FeatnormError(f"cannot write {path}: {error.strerror or error}") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise FeatnormError(
                f"{folder} is being scored into by another process: wait for it, or name another"
                " --output"
            ) from error
        self._known: dict[str, dict[str, Any]] = {}
        self._load()

    def _load(self) -> None:
        self._file.seek(0)
        text = self._file.read()
        for line in text.splitlines():
            try:
                entry = json.loads(line)
                known = self._known.setdefault(entry["key"], {"cut": 0, "measures": {}})
                known["cut"] = int(entry["cut"])
                for name, (stamp, value, reason) in entry["measures"].items():
                    if self._stamps.get(name) == stamp:
                        known["measures"][name] = (value, reason)
            except (ValueError, KeyError, TypeError, AttributeError):
                continue  # a line that a kill cut short
        if text and not text.endswith("\n"):
            self._file.write("\n")

    def find(self, key: str, utt_id: str) -> Row | None:
        """Return the row of these contents when every metric of it is known."""
        known = self._known.get(key)
        if known is None or any(name not in known["measures"] for name in self._metrics):
            return None
        row = Row(utt_id, cut=known["cut"])
        for name in self._metrics:
            value, reason = known["measures"][name]
            if value is None:
                row.reasons[name] = reason
            else:
                row.scores[name] = value
        return row

    def missing(self, key: str) -> tuple[str, ...]:
        """Return the metrics that are not known for these contents."""
        measures = self._known.get(key, {}).get("measures", {})
        return tuple(name for name in self._metrics if name not in measures)

    def add(self, key: str, row: Row) -> None:
        """Append a row; it is on its way to the disk when this returns.

        Raises:
            FeatnormError: it cannot be written, as when the disk is full.
        """
        measures: dict[str, tuple[float | None, str]] = {
            name: (value, "") for name, value in row.scores.items()
        }
        measures.update({name: (None, reason) for name, reason in row.reasons.items()})
        known = self._known.setdefault(key, {"cut": 0, "measures": {}})
        known["cut"] = row.cut
        known["measures"].update(measures)
        stamped = {name: [self._stamps[name], *value] for name, value in measures.items()}
        entry = {"key": key, "cut": row.cut, "measures": stamped}
        try:
            self._file.write(json.dumps(entry) + "\n")
            self._file.flush()
        except OSError as error:
            raise FeatnormError(
                f"cannot write {self._file.name}: {error.strerror or error}"
            ) from error

    def close(self) -> None:
        """Let go of the folder."""
        with suppress(OSError):  # of a full disk, which ``add`` has told of
            self._file.close()
