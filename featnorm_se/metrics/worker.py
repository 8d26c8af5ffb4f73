"""Scoring of two files, and the processes that do it: one thread each, and none taken as safe.

PESQ's C code crashes on recordings with more than 50 stretches of speech. A process that dies
costs the utterances that were in flight a second try, each alone; the guilty one gets a reason.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from featnorm_se.errors import FeatnormError
from featnorm_se.metrics.cache import Row

if TYPE_CHECKING:  # the process that hands out the work loads no numpy
    import numpy as np
    from numpy.typing import NDArray

# Lengths may differ by so many samples (10 ms at 16 kHz: a frame's hop); the longer file's end
# is then left out. More is a failure.
LENGTH_SLACK = 160
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Task:
    """One utterance to score: its name, its files, the metrics, and its key in the cache."""

    utt_id: str
    ref: str
    inf: str
    metrics: tuple[str, ...]
    key: str = ""


def score_files(task: Task) -> Row:
    """Score one utterance's two files. It does not raise: what is wrong becomes the reason."""
    from featnorm_se.metrics.pair import score_measures

    row = Row(task.utt_id)
    try:
        ref, inf, rate = _read_pair(task)
        row.cut = abs(len(ref) - len(inf))
        size = min(len(ref), len(inf))
        row.scores, row.reasons = score_measures(ref[:size], inf[:size], rate, task.metrics)
    except FeatnormError as error:
        row.fault = str(error)
    except Exception as error:  # noqa: BLE001 (one bad utterance must not end the others)
        row.fault = f"{type(error).__name__}: {error}"
    return row


def _read_pair(
    task: Task,
) -> tuple[NDArray[np.float32], NDArray[np.float32], int]:
    """Read both files and hold them to the rules on channels, rates and lengths."""
    from featnorm_se.data.audio import read_any_audio

    ref, ref_rate = read_any_audio(task.ref)
    inf, inf_rate = read_any_audio(task.inf)
    for path, samples in ((task.ref, ref), (task.inf, inf)):
        if samples.shape[1] != 1:
            raise FeatnormError(f"{path} has {samples.shape[1]} channels, one is wanted")
    if ref_rate != inf_rate:
        raise FeatnormError(f"other rate: {task.ref} has {ref_rate} Hz, {task.inf} {inf_rate} Hz")
    if abs(len(ref) - len(inf)) > LENGTH_SLACK:
        raise FeatnormError(
            f"other length: {task.ref} has {len(ref)} samples, {task.inf} {len(inf)}; at most"
            f" {LENGTH_SLACK} may differ"
        )
    return ref[:, 0], inf[:, 0], ref_rate


def _start_worker() -> None:
    # Ctrl-C is the parent's to handle; it ends the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Leave no orphan behind when the parent is killed: its queue would be waited on for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _stop(pool: ProcessPoolExecutor) -> None:
    """End a pool's processes now: who interrupts does not wait for an hour's recording."""
    # There is no public name for them before Python 3.14.
    for process in list((getattr(pool, "_processes", None) or {}).values()):
        process.terminate()


@contextmanager
def _single_thread() -> Iterator[None]:
    """Have processes started inside this block read "one thread" before they load numpy."""
    before = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _pool(processes: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(
        processes,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
    )


def score_tasks(tasks: Sequence[Task], nj: int) -> Iterator[tuple[Task, Row]]:
    """Score tasks in ``nj`` processes; yield each as it is done.

    Args:
        tasks: in the order to start them: the longest first keeps the processes busy to the end.
        nj: processes.

    Yields:
        Each task once, with its row, in the order of completion.
    """
    waiting = deque(tasks)
    with _single_thread():
        while waiting:
            suspects = yield from _run_pool(waiting, min(nj, len(waiting)))
            for task in suspects:
                yield task, _score_alone(task)


def _run_pool(waiting: deque[Task], nj: int) -> Generator[tuple[Task, Row], None, list[Task]]:
    """Work through ``waiting`` until it is empty or a process dies; return what was in flight."""
    flying: dict[Future[Row], Task] = {}
    pool = _pool(nj)
    try:
        while waiting or flying:
            while waiting and len(flying) < 2 * nj:
                task = waiting.popleft()
                flying[pool.submit(score_files, task)] = task
            done, _ = wait(flying, return_when=FIRST_COMPLETED)
            for future in done:
                if future.exception() is None:
                    yield flying.pop(future), future.result()
            if any(future in flying for future in done):
                return list(flying.values())
    except BrokenProcessPool:
        waiting.appendleft(task)
        return list(flying.values())
    except BaseException:
        _stop(pool)
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return []


def _score_alone(task: Task) -> Row:
    """Score one task in a process of its own, which may die."""
    pool = _pool(1)
    try:
        return pool.submit(score_files, task).result()
    except KeyboardInterrupt:
        _stop(pool)
        raise
    except BrokenProcessPool:
        return Row(
            task.utt_id,
            fault="the scoring process died: PESQ crashes on recordings with more than 50"
            " stretches of speech (cut the file), or memory ran out",
        )
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
