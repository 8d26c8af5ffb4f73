"""Scoring of two files, in processes of which none is taken as safe."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featnorm_se.data.audio import read_any_audio
from featnorm_se.data.parallel import start_pool
from featnorm_se.errors import FeatnormError
from featnorm_se.metrics.cache import Row
from featnorm_se.metrics.pair import score_measures

# Lengths may differ by so many samples (10 ms at 16 kHz: a frame's hop); the longer file's end
# is then left out. More is a failure.
LENGTH_SLACK = 160


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


def _read_pair(task: Task) -> tuple[NDArray[np.float32], NDArray[np.float32], int]:
    """Read both files and hold them to the rules on channels, rates and lengths."""
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


def score_tasks(tasks: Sequence[Task], nj: int) -> Iterator[tuple[Task, Row]]:
    """Score tasks in ``nj`` processes; yield each as it is done.

    PESQ's C code crashes on recordings with more than 50 stretches of speech. Every process is
    a pool of its own, so that one that dies takes no other's work with it.

    Args:
        tasks: in the order to start them: the longest first keeps the processes busy to the end.
        nj: processes.

    Yields:
        Each task once, with its row, in the order of completion.
    """
    waiting = list(reversed(tasks))
    idle = [start_pool(1) for _ in range(min(nj, len(tasks)))]
    at_work: dict[Future[Row], tuple[ProcessPoolExecutor, Task]] = {}
    try:
        while waiting or at_work:
            while waiting and idle:
                pool, task = idle.pop(), waiting.pop()
                at_work[pool.submit(score_files, task)] = pool, task
            for future in wait(at_work, return_when=FIRST_COMPLETED).done:
                pool, task = at_work.pop(future)
                try:
                    row = future.result()
                except BrokenProcessPool:
                    pool = start_pool(1)
                    row = Row(
                        task.utt_id,
                        fault="the scoring process died: PESQ crashes on recordings with more than"
                        " 50 stretches of speech (cut the file), or memory ran out",
                    )
                idle.append(pool)
                yield task, row
    finally:
        for pool in [*idle, *(pool for pool, _ in at_work.values())]:
            pool.shutdown(cancel_futures=True)
