"""Training curves, from the epoch lines of ESPnet's training log."""

from __future__ import annotations

import re
from pathlib import Path

_EPOCH = re.compile(r"(\d+)epoch results: (.*)")
_PHASE = re.compile(r"\[(\w+)\] ([^\[]*)")
_LOSS = re.compile(r"\bloss=([-+\d.eE]+|nan|inf)")

Curves = dict[str, list[tuple[int, float]]]


def read_curves(folder: Path) -> Curves:
    """Read the loss by epoch of ``train`` and ``valid`` from ``train.log`` (and its rotations).

    An epoch that a resumed training did again counts as it was done last.

    Args:
        folder: ``exp/<name>``.

    Returns:
        ``(epoch, loss)`` pairs by phase, sorted; empty when there is no log.
    """
    found: dict[str, dict[int, float]] = {}
    for path in sorted(folder.glob("train*.log"), key=lambda path: path.stat().st_mtime):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            epoch = _EPOCH.search(line)
            if epoch is None:
                continue
            for phase, told in _PHASE.findall(epoch[2]):
                loss = _LOSS.search(told)
                if loss is not None:
                    found.setdefault(phase, {})[int(epoch[1])] = float(loss[1])
    return {phase: sorted(found[phase].items()) for phase in ("train", "valid") if phase in found}
