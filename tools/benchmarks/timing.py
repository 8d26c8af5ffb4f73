"""Timing side by side: contestants in turn, medians and ratios with their spread.

What every benchmark script has in common, so that ``run_all.py`` can put their results into one
table: it takes ``--quick`` (a small case, seconds long) and prints its ratios by ``print_table``
or ``print_ratios``. What else it prints is shown as it is.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

COLUMNS = ("what", "ratio", "ratio of CPU time", "seconds", "peak MiB")
HEADER = f"| {' | '.join(COLUMNS)} |"
RULE = "|---|---:|---:|---:|---:|"


@dataclass(frozen=True)
class Cost:
    """What one run took.

    Attributes:
        seconds: by the clock on the wall.
        cpu: seconds of CPU time, of the process and those it waited for; ``None``: unknown.
        peak_mib: the most memory that one process had resident; ``None``: unknown.
    """

    seconds: float
    cpu: float | None = None
    peak_mib: float | None = None


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


def costs_in_turn(
    contestants: Mapping[str, Callable[[], Cost]], repetitions: int, *, warm_up: bool = True
) -> dict[str, list[Cost]]:
    """Run all in turn, each of which tells its own cost, and return the costs by name."""
    if warm_up:
        for run in contestants.values():
            run()
    costs: dict[str, list[Cost]] = {name: [] for name in contestants}
    for repetition in range(repetitions):
        for name, run in contestants.items():
            costs[name].append(run())
        print(f"repetition {repetition + 1}/{repetitions}", file=sys.stderr, flush=True)
    return costs


# A process's peak begins with that of the one that started it, so a small one has to.
_RUNNER = """
import os, sys, time
started = time.perf_counter()
quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
process = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, file_actions=quiet)
_, status, usage = os.wait4(process, 0)
seconds = time.perf_counter() - started
print(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)
sys.exit(status != 0)
"""


def command_cost(command: Sequence[str], env: Mapping[str, str] | None = None) -> Cost:
    """Run a command in a process of its own and return what it took.

    Args:
        command: program and arguments; its output is thrown away.
        env: variables over those of this process.

    Raises:
        SystemExit: the command failed; the end of its errors is told.
    """
    small = [sys.executable, "-S", "-c", _RUNNER, *command]
    done = subprocess.run(small, env={**os.environ, **(env or {})}, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    seconds, cpu, peak_mib = map(float, done.stdout.split())
    return Cost(seconds, cpu, peak_mib)


def print_table(costs: Mapping[str, Sequence[Cost]], pairs: Mapping[str, tuple[str, str]]) -> None:
    """Print one row a pair: its ratios, repetition by repetition, and the medians behind them.

    Args:
        costs: by contestant, one a repetition.
        pairs: by what the row says, the two contestants; the ratio is the first's over the
            second's.
    """
    print(HEADER)
    print(RULE)
    for what, (one, other) in pairs.items():
        cells = [
            what,
            _ratio([(a.seconds, b.seconds) for a, b in zip(costs[one], costs[other], strict=True)]),
            _ratio([(a.cpu, b.cpu) for a, b in zip(costs[one], costs[other], strict=True)]),
            _both(
                [cost.seconds for cost in costs[one]], [c.seconds for c in costs[other]], "{:.3g}"
            ),
            _both([c.peak_mib for c in costs[one]], [c.peak_mib for c in costs[other]], "{:.0f}"),
        ]
        print(f"| {' | '.join(cells)} |", flush=True)


def print_ratios(seconds: Mapping[str, list[float]], pairs: Mapping[str, tuple[str, str]]) -> None:
    """Print each contestant's median, then the table of the pairs' ratios."""
    print(f"{'seconds':<44}{'median':>9}{'least':>9}{'most':>9}")
    for name, values in seconds.items():
        summary = (statistics.median(values), min(values), max(values))
        print(f"{name:<44}" + "".join(f"{value:>9.3f}" for value in summary))
    print()
    print_table(
        {name: [Cost(value) for value in values] for name, values in seconds.items()}, pairs
    )


def _ratio(pairs: Sequence[tuple[float | None, float | None]]) -> str:
    """Return the median of the ratios and, of several, the least and the most."""
    ratios = [one / other for one, other in pairs if one is not None and other]
    if len(ratios) < len(pairs):
        return "-"
    middle, least, most = (
        f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"
        for value in (statistics.median(ratios), min(ratios), max(ratios))
    )
    return middle if len(ratios) == 1 else f"{middle} ({least} to {most})"


def _both(ones: Sequence[float | None], others: Sequence[float | None], form: str) -> str:
    medians = []
    for values in (ones, others):
        known = [value for value in values if value is not None]
        if not known:
            return "-"
        medians.append(form.format(statistics.median(known)))
    return " / ".join(medians)
