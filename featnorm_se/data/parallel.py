"""The same function over many items in several processes, in order, with progress."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from typing import TypeVar

from featnorm_se.errors import FeatnormError

Item = TypeVar("Item")
Result = TypeVar("Result")

_SECONDS_BETWEEN_LINES = 5.0


def parallel_map(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    nj: int,
    label: str,
) -> list[Result]:
    """Apply ``function`` to every item and keep the order; report progress on stderr.

    Processes are spawned, not forked, since a fork of a process that has used torch can hang.

    Args:
        function: a module-level function (it is pickled).
        items: what to work on.
        nj: processes; with 1 the work is done in this process.
        label: what the progress lines begin with.

    Returns:
        One result an item, in the items' order.

    Raises:
        FeatnormError: ``nj`` is below 1, a worker died, or ``function`` raised it; of several
            items the first bad one in order is told.
    """
    if nj < 1:
        raise FeatnormError(f"--nj {nj}: at least one job is needed")
    workers = min(nj, len(items))
    if workers <= 1:
        return list(_progress(map(function, items), len(items), label))
    chunk = max(1, min(32, len(items) // (4 * workers)))
    pool = start_pool(workers)
    try:
        results = pool.map(function, items, chunksize=chunk)
        return list(_progress(results, len(items), label))
    except BrokenProcessPool as error:
        raise FeatnormError(
            f"{label}: a worker process died (out of memory?): try a smaller --nj than {nj}"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def run_apart(function: Callable[[Item], Result], item: Item) -> Result:
    """Call ``function(item)`` in one fresh process, away from this one's state."""
    with start_pool(1) as pool:
        try:
            return pool.submit(function, item).result()
        except BrokenProcessPool as error:
            raise FeatnormError(f"the process for {function.__name__} died: run again") from error


def start_pool(workers: int) -> ProcessPoolExecutor:
    """Start processes of one thread each that end with this one.

    Raises:
        FeatnormError: this machine has no place for what processes share.
    """
    context = get_context("spawn")
    try:
        return ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)
    except (OSError, ImportError, NotImplementedError) as error:
        raise FeatnormError(
            f"cannot start worker processes ({error}): is there a /dev/shm that can be written?"
        ) from error


def _start_worker() -> None:
    """Keep a worker to one core, since the processes are the parallelism, and to its parent.

    The number of threads goes by the environment, before a numerical library is loaded: torch is
    not wanted by every task.
    """
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process when its parent is gone: a killed run must not leave workers waiting."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _progress(results: Iterator[Result], total: int, label: str) -> Iterator[Result]:
    """Pass the results on; print how far it is every few seconds and at the end."""
    began = shown = time.monotonic()
    done = 0
    for done, result in enumerate(results, start=1):
        yield result
        now = time.monotonic()
        if now - shown >= _SECONDS_BETWEEN_LINES and done < total:
            shown = now
            left = (now - began) / done * (total - done)
            # Early on the start of the processes would spoil the estimate.
            guess = f", about {left:.0f} s left" if done >= total / 20 else ""
            print(f"{label}: {done}/{total}{guess}", file=sys.stderr, flush=True)
    print(
        f"{label}: {done}/{total}, {time.monotonic() - began:.1f} s",
        file=sys.stderr,
        flush=True,
    )
