"""The same function over many items in several processes, in order, with progress."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from typing import TypeVar

from featnorm_se.errors import FeatnormError
from featnorm_se.progress import progress

Item = TypeVar("Item")
Result = TypeVar("Result")


def parallel_map(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    nj: int,
    label: str,
) -> list[Result]:
    """Apply ``function`` to every item and keep the order; report progress on stderr.

    Args:
        function: a module-level function (it is pickled).
        items: what to work on.
        nj: processes; with 1 the work is done in this process.
        label: what the progress bar begins with.

    Returns:
        One result an item, in the items' order.

    Raises:
        FeatnormError: ``nj`` is below 1, a worker died, or ``function`` raised it; of several
            bad items it is the first one's.
    """
    if nj < 1:
        raise FeatnormError(f"--nj {nj}: at least one job is needed")
    workers = min(nj, len(items))
    if workers <= 1:
        return list(progress(map(function, items), label, len(items)))
    chunk = max(1, min(32, len(items) // (4 * workers)))
    pool = start_pool(workers)
    try:
        return list(progress(pool.map(function, items, chunksize=chunk), label, len(items)))
    except BrokenProcessPool as error:
        raise FeatnormError(
            f"{label}: a worker process died (out of memory?): try a smaller --nj than {nj}"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def start_pool(workers: int) -> ProcessPoolExecutor:
    """Start processes of one thread each that end with this one.

    They are spawned, not forked, since a fork of a process that has used torch can hang.
    """
    return ProcessPoolExecutor(workers, get_context("spawn"), initializer=_start_worker)


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
