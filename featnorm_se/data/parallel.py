"""The same function over many items in several processes, in order, with progress."""

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from typing import Any, TypeVar

from featnorm_se.errors import FeatnormError
from featnorm_se.files import drop_temporary
from featnorm_se.progress import progress

Item = TypeVar("Item")
Result = TypeVar("Result")
Beside = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]


def parallel_map(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    nj: int,
    label: str,
    unit: str = "file",
) -> list[Result]:
    """Apply ``function`` to every item and keep the order; report progress on stderr.

    Args:
        function: a module-level function (it is pickled).
        items: what to work on.
        nj: processes, at most one a core; with 1 the work is done in this process.
        label: what the progress bar begins with; ``unit``: what it calls an item.

    Raises:
        FeatnormError: ``nj`` is below 1, a worker died, or ``function`` raised it; of several
            bad items it is the first one's.
    """
    if nj < 1:
        raise FeatnormError(f"--nj {nj}: at least one job is needed")
    workers = min(nj, len(items), count_cores())
    if workers <= 1:
        return list(progress(map(function, items), label, len(items), unit))
    chunk = max(1, min(32, len(items) // (4 * workers)))
    pool = start_pool(workers)
    try:
        return list(progress(pool.map(function, items, chunksize=chunk), label, len(items), unit))
    except BrokenProcessPool as error:
        fault = f"{label}: a worker process died (out of memory?): try a smaller --nj than {nj}"
        raise FeatnormError(fault) from error
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def beside(device: str) -> Iterator[Beside]:
    """Yield what applies a function to items at once: in threads while a GPU computes.

    A CPU has no time to spare, so there it is done right away, in this thread.
    """
    if device == "cpu":
        yield lambda function, items: list(map(function, items))
    else:
        pool = ThreadPoolExecutor(min(8, count_cores()))
        try:
            yield pool.map
        finally:
            pool.shutdown(cancel_futures=True)  # after an error nothing more is begun


def count_cores() -> int:
    """Return how many cores this process may use; ``OMP_THREAD_LIMIT`` may lower it."""
    cores, limit = len(os.sched_getaffinity(0)), os.environ.get("OMP_THREAD_LIMIT", "")
    return min(cores, int(limit)) if limit.isdigit() and int(limit) else cores


def set_threads(processes: int = 1) -> None:
    """Share the cores among processes, before torch is loaded; the user's own number stays."""
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, count_cores() // processes)))


def start_pool(workers: int) -> ProcessPoolExecutor:
    """Start processes that end with this one, of one thread each but for ``set_threads``.

    They are spawned, not forked, since a fork of a process that has used torch can hang.
    """
    return ProcessPoolExecutor(workers, get_context("spawn"), initializer=_start_worker)


def _start_worker() -> None:
    """Keep a worker to its threads, and to its parent, which alone hears Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, drop_temporary)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process when its parent is gone: a killed run must not leave workers waiting."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def ahead(items: Iterable[Item], count: Callable[[Item], int]) -> Iterator[Item]:
    """Yield the items; a thread takes the next ones, ``count(first)``, while the last is worked on.

    The first is taken right here, since it starts the loader's processes: forked from a thread
    they can die of what another one was at.
    """
    iterator = iter(items)
    item = next(iterator, None)
    pool = ThreadPoolExecutor(1)
    coming: deque[Future[Item | None]] = deque()
    try:
        for _ in range(0 if item is None else count(item)):
            coming.append(pool.submit(next, iterator, None))
        while item is not None:
            yield item
            coming.append(pool.submit(next, iterator, None))
            item = coming.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
