#!/usr/bin/env python3
"""Tables over seeds: what is to be run, one run of it, and the tables of what is there."""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featnorm_se.bin import Parser, run
from featnorm_se.errors import FeatnormError

if TYPE_CHECKING:
    from rows import Row


def get_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = Parser(
        prog="local/tables.py",
        description="Without --plan or --run: gather a table over seeds from the experiments"
        " that are there, as Markdown, CSV and LaTeX; cells not run stay empty.",
    )
    add = parser.add_argument
    add("--table", default="upstreams", help="which: <table>.yaml in --rows")
    add("--rows", default="conf/tables", help="folder of the tables")
    add("--seeds", default="0", help="seeds, separated by spaces")
    add("--expdir", default="exp", help="folder of experiments")
    add("--datadir", default="data", help="folder of data directories")
    add("--output", default="tables", help="folder to write <table>.md, .csv and .tex to")
    add("--test_set", default="test", help="test set that the rows are scored on")
    add("--config", default="conf/train.yaml", help="training configuration of all rows")
    add("--upstream", default="", help="upstream in place of the rows' own")
    add("--upstream_suffix", default="", help="what goes after every upstream's name")
    add("--ckpt_dir", default="", help="folder of <upstream>.pt for the pre-trained rows")
    add("--upstream_conf_dir", default="conf/upstream", help="the recipe's upstream cards")
    add("--plan", help="write the runs still to do to this file (JSON), run and gather nothing")
    add("--run", type=int, help="do run K (from 1) of --plan, with ./run.sh and what follows --")
    add("--ngpu", type=int, default=0, help="GPUs that the run gets")
    add("rest", nargs="*", help="after --: options for ./run.sh")
    return parser


def main(argv: Sequence[str]) -> None:
    """Plan, run one, or gather."""
    args = get_parser().parse_args(argv)
    if args.run is not None:
        if not args.plan:
            raise FeatnormError("--run K is of a --plan FILE: give both")
        run_one(Path(args.plan), args.run, args)
    from rows import Setting, read_rows

    setting = Setting(
        args.upstream, args.upstream_suffix, args.ckpt_dir, args.config, args.upstream_conf_dir
    )
    if not all(seed.isdecimal() for seed in args.seeds.split() or [""]):
        raise FeatnormError(f"--seeds is {args.seeds!r}: whole numbers, separated by spaces")
    rows = read_rows(Path(args.rows) / f"{args.table}.yaml", setting)
    seeds = [int(seed) for seed in args.seeds.split()]
    (write_plan if args.plan else write_tables)(rows, seeds, args)


def write_plan(rows: Sequence[Row], seeds: Sequence[int], args: argparse.Namespace) -> None:
    """Write and print the runs that are still to do."""
    from rows import plan_runs

    from featnorm_se.files import write_json

    drift = args.table == "drift"
    places = Path(args.expdir), args.test_set
    runs = plan_runs(rows, seeds, *places, drift, args.rest, Path(args.datadir))
    write_json(args.plan, runs)
    for number, job in enumerate(runs, start=1):
        lines = map(shlex.join, commands_of(job, args))
        print(f"{number} of {len(runs)}: {' && '.join(lines)}")


def commands_of(job: dict[str, Any], args: argparse.Namespace) -> list[list[str]]:
    """Return the commands of a run: ``./run.sh``, and what measures the drift where it is wanted.

    The row's own options come last: they count.
    """
    stages = ["--stage", str(job["stage"]), "--stop_stage", "4"]
    run_sh = ["./run.sh", *args.rest, *stages, *job["arguments"]]
    places = ["--expdir", f"{args.expdir}/{job['tag']}", "--datadir", f"{args.datadir}/valid"]
    drift = [sys.executable, str(Path(__file__).with_name("drift.py")), *places]
    return [run_sh] * (job["stage"] < 5) + [drift] * job["drift"]


def write_tables(rows: Sequence[Row], seeds: Sequence[int], args: argparse.Namespace) -> None:
    """Gather the table, write its three forms, and print it."""
    from gather import gather
    from table_text import to_csv, to_latex, to_markdown

    from featnorm_se.files import write_text

    lines, caveats = gather(rows, seeds, Path(args.expdir), args.test_set)
    title, drift = f"Table {args.table}, seeds {args.seeds}", args.table == "drift"
    stem = str(Path(args.output) / args.table)
    if args.test_set != "test":
        title, stem = f"{title}, test set {args.test_set}", f"{stem}_{args.test_set}"
    write_text(f"{stem}.csv", to_csv(lines, drift))
    write_text(f"{stem}.tex", to_latex(lines, title, drift, caveats))
    write_text(f"{stem}.md", to_markdown(lines, title, drift, caveats))
    print(to_markdown(lines, title, drift, caveats))
    print(f"written: {stem}.md, {stem}.csv, {stem}.tex")


def run_one(plan: Path, number: int, args: argparse.Namespace) -> None:
    """Call ``./run.sh`` for one run of a plan, from its first stage to scoring, then end.

    Where the drift is wanted, it is measured afterwards.

    Raises:
        FeatnormError: there is no such run.
    """
    try:
        runs = json.loads(plan.read_text(encoding="utf-8"))
        job = dict(enumerate(runs, start=1))[number]
    except (OSError, ValueError, KeyError) as error:
        raise FeatnormError(f"{plan} has no run {number}: run tables.sh again") from error
    with open(plan.with_name("progress"), "a", encoding="utf-8") as progress:
        progress.write(f"{time.strftime('%H:%M:%S')} row {number} of {len(runs)}: {job['tag']}\n")
    with own_gpus(plan.parent, number, args.ngpu) as environment:
        for command in commands_of(job, args):
            print(shlex.join(command), flush=True)
            done = subprocess.run(command, check=False, env=environment)
            if done.returncode:
                raise SystemExit(done.returncode)
    raise SystemExit(0)


@contextmanager
def own_gpus(folder: Path, number: int, count: int) -> Iterator[dict[str, str]]:
    """Give an environment in which a run sees so many GPUs, of this machine's the first free ones.

    Those that a run has are locked in ``folder``. Where none are free, its number says which.
    """
    if not count:
        yield {**os.environ}
        return
    import torch

    named = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    gpus = named or [*map(str, range(torch.cuda.device_count()))]
    sets = [gpus[k : k + count] for k in range(0, len(gpus) - count + 1, count)] or [gpus]
    own = sets[(number - 1) % len(sets)]
    with ExitStack() as held:
        for place, one in enumerate(sets):
            lock = held.enter_context(open(folder / f"gpu_{place}.lock", "w"))
            with suppress(OSError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                own = one
                break
        yield {**os.environ, "CUDA_VISIBLE_DEVICES": ",".join(own)}


if __name__ == "__main__":
    raise SystemExit(run(main))
