"""Rows of scores, kept as they come, so that a killed scoring goes on where it was."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from featnorm_se.metrics.names import join_reasons


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

    @property
    def reason(self) -> str:
        """Why the utterance has not every score, in one line; empty when it has."""
        return self.fault or "; ".join(join_reasons(self.reasons))


def read_rows(path: Path) -> dict[str, Row]:
    """Read the rows by their keys; a line that a kill cut is left out. No file: no rows."""
    rows: dict[str, Row] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            entry = json.loads(line)
            rows[entry["key"]] = Row(**entry["row"])
        except (ValueError, KeyError, TypeError):
            continue
    return rows


def append_row(path: Path, key: str, row: Row) -> None:
    """Append a row as a line of JSON; the key says what it was made of."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a", encoding="utf-8") as handle:
        # The line's end goes before it: it parts the row from one that a kill cut.
        handle.write("\n" + json.dumps({"key": key, "row": asdict(row)}))
