"""Timing side by side: contestants in turn, medians and ratios with their spread."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Mapping


def in_turn(contestants: Mapping[str, Callable[[], object]], repetitions: int) -> dict[str, list]:
    """Run every contestant once unmeasured, then all in turn, and return seconds by name."""
    for run in contestants.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for repetition in range(repetitions):
        for name, run in contestants.items():
            started = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - started)
        print(f"repetition {repetition + 1}/{repetitions}", file=sys.stderr, flush=True)
    return seconds


def print_ratios(seconds: Mapping[str, list[float]], pairs: Mapping[str, tuple[str, str]]) -> None:
    """Print each contestant's median, then each pair's ratio, repetition by repetition."""
    print(f"{'seconds':<44}{'median':>9}{'least':>9}{'most':>9}")
    for name, values in seconds.items():
        told = (statistics.median(values), min(values), max(values))
        print(f"{name:<44}" + "".join(f"{value:>9.3f}" for value in told))
    print(f"\n{'ratio':<44}{'median':>9}{'least':>9}{'most':>9}")
    for name, (one, other) in pairs.items():
        ratios = [a / b for a, b in zip(seconds[one], seconds[other], strict=True)]
        told = (statistics.median(ratios), min(ratios), max(ratios))
        print(f"{name:<44}" + "".join(f"{value:>9.3f}" for value in told))
