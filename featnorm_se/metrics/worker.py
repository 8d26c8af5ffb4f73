"""Scoring of two files, in processes that may crash: a metric's C code can end them."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from itertools import permutations
from queue import SimpleQueue
from typing import Any

from featnorm_se.data.audio import check_lengths, read_any_audio, to_mono
from featnorm_se.data.parallel import count_cores, start_pool
from featnorm_se.errors import FeatnormError
from featnorm_se.metrics.names import METRICS
from featnorm_se.metrics.pair import at_scoring_rate, join_reasons, score_measures, si_sdr

DIED = (
    "the scoring process died: memory ran out, or PESQ crashed, as it does on more than 50"
    " stretches of speech: cut the file into parts"
)


@dataclass(frozen=True)
class Task:
    """One utterance to score: its name, its files, the metrics, and its key in the cache.

    ``ref`` and ``inf`` have a file a talker; ``mix`` is what they were separated from, if known.
    """

    utt_id: str
    ref: tuple[str, ...]
    inf: tuple[str, ...]
    metrics: tuple[str, ...]
    key: str = ""
    mix: str = ""


@dataclass
class Row:
    """The outcome of one utterance.

    Attributes:
        utt_id: its name.
        scores: the values by metric.
        reasons: why the other metrics have none.
        fault: why the utterance as a whole has none; empty when it has.
        cut: samples taken off the longer file's end to make the lengths equal.
        rates: of the files that were resampled, in Hz.
    """

    utt_id: str
    scores: dict[str, float] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    fault: str = ""
    cut: int = 0
    rates: list[int] = field(default_factory=list)

    @property
    def reason(self) -> str:
        """Why the utterance has not every score, in one line; empty when it has."""
        return self.fault or join_reasons(self.reasons)


def score_files(task: Task) -> Row:
    """Score one utterance's files. It does not raise: what is wrong becomes the reason.

    Several talkers are judged in the order that has the best mean SI_SDR; a score is their mean.
    """
    row = Row(task.utt_id)
    try:
        files = [*task.ref, *task.inf, *([task.mix] if task.mix else [])]
        signals, rates = zip(*(_read(file, row) for file in files), strict=True)
        for file, rate in zip(files, rates, strict=True):
            if rate != rates[0]:
                raise FeatnormError(f"other rate: {files[0]} has {rates[0]} Hz, {file} {rate} Hz")
        size = check_lengths(files, [*map(len, signals)])
        row.cut = max(map(len, signals)) - size
        cut, count = [signal[:size] for signal in signals], len(task.ref)
        refs, infs, mix = cut[:count], cut[count : 2 * count], cut[2 * count :]
        if count > 1:
            infs = max(map(list, permutations(infs)), key=lambda x: sum(map(si_sdr, refs, x)))
        # All talkers before the row gets any of them: half of a mean is none.
        judged = [
            score_measures(*pair, rates[0], task.metrics, *mix)
            for pair in zip(refs, infs, strict=True)
        ]
        for _, reasons in judged:
            row.reasons |= reasons
        for name in (name for name in task.metrics if name not in row.reasons):
            row.scores[name] = sum(scores[name] / count for scores, _ in judged)
    except FeatnormError as error:
        row.fault = str(error)
    except Exception as error:  # noqa: BLE001 (one bad utterance must not end the others)
        row.fault = f"{type(error).__name__}: {error}"
    return row


def _read(path: str, row: Row) -> tuple[Any, int]:
    """Read one channel, at 16 kHz or below, and its rate."""
    samples, given = read_any_audio(path)
    signal, rate = at_scoring_rate(to_mono(samples, path), given)
    row.rates += [given] if rate != given else []
    return signal, rate


def score_tasks(tasks: Sequence[Task], nj: int) -> Iterator[tuple[Task, Row]]:
    """Score tasks in ``nj`` processes; yield each with its row as it is done.

    PESQ's C code crashes on recordings with more than 50 stretches of speech. Every process is
    a pool of its own, so that one that dies takes no other's work with it.

    Tasks start in their order: put the longest first. After a crash PESQ's metrics are left out.
    """
    nj = min(nj, count_cores())
    idle: SimpleQueue[ProcessPoolExecutor] = SimpleQueue()
    for _ in range(min(nj, len(tasks))):
        idle.put(start_pool(1))

    def score(task: Task) -> tuple[Task, Row]:
        pool = idle.get()
        try:
            return task, pool.submit(score_files, task).result()
        except BrokenProcessPool:
            pool = start_pool(1)
        finally:
            idle.put(pool)
        rest = tuple(name for name in task.metrics if METRICS[name].package != "pesq")
        if rest in ((), task.metrics):
            return task, Row(task.utt_id, fault=DIED)
        _, row = score(replace(task, metrics=rest))
        row.reasons |= {name: DIED for name in task.metrics if name not in rest}
        return task, row

    threads = ThreadPoolExecutor(nj)  # each waits for a process
    try:
        for future in as_completed([threads.submit(score, task) for task in tasks]):
            yield future.result()
    finally:
        threads.shutdown(cancel_futures=True)
        while not idle.empty():
            idle.get().shutdown()
