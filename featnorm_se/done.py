"""Is a piece of work done already? One answer for all stages."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from featnorm_se.files import write_json


def is_done(output: Path, request: Mapping[str, Any], inputs: Iterable[Path] = ()) -> bool:
    """Whether ``output`` was made by the same request and is newer than its inputs.

    Args:
        output: the file or the folder.
        request: what it was to be made of: plain values that JSON holds.
        inputs: the files it was made of; each must be there.
    """
    record = _record(output)
    try:
        made, when = json.loads(record.read_text(encoding="utf-8")), record.stat().st_mtime_ns
    except (OSError, ValueError):
        return False
    same = output.exists() and made == json.loads(json.dumps(request))
    return same and all(path.stat().st_mtime_ns <= when for path in inputs)


def mark_done(output: Path, request: Mapping[str, Any]) -> None:
    """Record that ``output`` is whole, and by which request it was made."""
    write_json(_record(output), request)


def _record(output: Path) -> Path:
    if output.is_dir():
        return output / ".done.json"
    return output.with_name(f".{output.name}.done.json")
