"""Fuzz the readers of our own formats for a given time, with hypothesis or with atheris.

    python tools/fuzz/run.py --engine hypothesis --seconds 120
    python tools/fuzz/run.py --engine atheris --seconds 120 --only statistics

hypothesis comes with the set-up. atheris, which is led by the branches that an input takes, is
not pinned: ``pip install atheris`` (it has wheels for Python 3.11). What fails is printed with the
input that did it, smallest first; the status is 1. Keep such an input as an ``@example`` of its
target or as a test.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

NAMES = ("scp", "statistics", "override", "config", "packed")
MEMORY = 6 << 30  # bytes of address space: a reader that asks for more has failed
BATCH = 500  # hypothesis examples between two looks at the clock


def main() -> int:
    """Run the targets one after the other; return 1 when one of them failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--engine", choices=("hypothesis", "atheris"), default="hypothesis")
    parser.add_argument("--seconds", type=float, default=120.0, help="for each target")
    parser.add_argument("--only", help="one target: scp, statistics, override, config or packed")
    parser.add_argument("--corpus", type=Path, help="atheris: keep what it finds new here")
    args = parser.parse_args()
    if args.only and args.only not in NAMES:
        parser.error(f"--only {args.only}: there are {', '.join(NAMES)}")
    if args.engine == "hypothesis":
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        from targets import TARGETS

        names = [args.only] if args.only else NAMES
        return max(search(name, TARGETS[name], args.seconds) for name in names)
    if args.only:  # nothing is imported yet: atheris sees only what it instruments
        follow_branches(args.only, args.seconds, args.corpus)
    # libFuzzer ends the process, so each target has one of its own.
    passed = [part for part in sys.argv[1:] if part != "--only"]
    calls = [[sys.executable, __file__, *passed, "--only", name] for name in NAMES]
    return max(abs(subprocess.run(call, check=False).returncode) for call in calls) and 1


def search(name: str, target: Any, seconds: float) -> int:
    """Let hypothesis draw examples until the time is over."""
    from hypothesis import HealthCheck, Phase, settings

    began, examples = time.monotonic(), 0
    target = settings(
        max_examples=BATCH,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )(target)
    while time.monotonic() - began < seconds:
        try:
            target()
        except BaseException:
            traceback.print_exc()
            print(f"{name}: FAILED after about {examples} examples", flush=True)
            return 1
        examples += BATCH
    print(f"{name}: {examples} examples in {time.monotonic() - began:.0f} s: held", flush=True)
    return 0


def follow_branches(name: str, seconds: float, corpus: Path | None) -> None:
    """Let atheris lead hypothesis' choices by the branches taken; ends the process."""
    import atheris

    with atheris.instrument_imports(include=["featnorm_se", "yaml", "zipfile", "numpy.lib.format"]):
        import yaml  # noqa: F401
        from targets import TARGETS

        import featnorm_se.enhancement.experiment
        import featnorm_se.enhancement.loading  # noqa: F401
    places = []
    if corpus:
        (corpus / name).mkdir(parents=True, exist_ok=True)
        places = [str(corpus / name)]
    limits = [f"-max_total_time={int(seconds)}", "-timeout=60", "-rss_limit_mb=3000"]
    print(f"{name}: atheris for {seconds:.0f} s", flush=True)
    atheris.Setup(
        [sys.argv[0], *limits, "-max_len=4096", "-len_control=0", "-print_final_stats=1", *places],
        TARGETS[name].hypothesis.fuzz_one_input,
    )
    atheris.Fuzz()


if __name__ == "__main__":
    raise SystemExit(main())
