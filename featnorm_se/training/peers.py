"""The processes of one run: each has its share, and when one ends all do and say why."""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
from datetime import timedelta
from types import TracebackType
from typing import Any
from urllib.parse import SplitResult, urlsplit

import torch
from espnet2.train import distributed_utils as utils
from torch.distributed import FileStore, TCPStore

from featnorm_se.data.scp import read_scp
from featnorm_se.errors import FeatnormError

_BEAT = 1.0  # seconds between two signs of life
_SILENCE = 40.0  # seconds without one after which a process is taken for dead
_BROKEN_SILENCE = 5.0  # the same where a connection broke, too
_ARRIVAL = 300.0  # seconds that the others may come later
_WORDS = ("connection", "closed by peer", "gloo", "nccl", "broken pipe", "store", "timeout")


class Peers:
    """A context in which this process of a run knows when another one has ended.

    A process that waits for a dead one's part of a sum would wait for half an hour by PyTorch's
    defaults, or for ever. So each process counts in a store that the first one keeps, at the
    address of the run itself, and looks whether the others still count. It is blocked in the sum
    when one does not, so it says so and exits at once; what it had saved is whole.

    Args:
        rank: of this process, from 0.
        size: how many there are; with one this does nothing.
        place: of the run's rendezvous, beside which the store is: ``tcp://host:port`` or
            ``file:///path`` on a disk that all share.
    """

    def __init__(self, rank: int, size: int, place: str) -> None:
        self.rank, self.size, self.place = rank, size, place
        self._silence = _SILENCE
        self._over = threading.Event()
        self._store: Any = None
        self._seen: dict[int, tuple[int, float]] = {}

    @classmethod
    def of(cls, args: argparse.Namespace) -> Peers:
        """Return those of a run by ESPnet's options (``dist_*``) and the environment."""
        if not args.distributed:
            return cls(0, 1, "")
        place = args.dist_init_method
        if place == "env://":
            host = utils.get_master_addr(args.dist_master_addr, args.dist_launcher)
            place = f"tcp://{host}:{utils.get_master_port(args.dist_master_port)}"
        return cls(
            utils.get_rank(args.dist_rank, args.dist_launcher) or 0,
            utils.get_world_size(args.dist_world_size, args.dist_launcher),
            place,
        )

    def __enter__(self) -> Peers:
        if self.size < 2:
            return self
        try:
            self._store = self._open_store(urlsplit(self.place))
        except (RuntimeError, ValueError) as error:
            told = " ".join(str(error).split())[:200]
            raise FeatnormError(
                f"process {self.rank} of {self.size} cannot reach the first one at {self.place}"
                f" ({told}): has it ended?"
            ) from error
        self._store.add(f"featnorm_se/beat/{self.rank}", 1)
        threading.Thread(target=self._watch, daemon=True).start()
        return self

    def _open_store(self, place: SplitResult) -> Any:
        if place.scheme == "file":
            return FileStore(f"{place.path}.peers", self.size)
        if place.scheme != "tcp" or not place.hostname or not place.port:
            raise ValueError("tcp://host:port or file:///path is wanted")
        return TCPStore(
            place.hostname,
            place.port,
            self.size,
            is_master=self.rank == 0,
            timeout=timedelta(seconds=_ARRIVAL),
            wait_for_workers=False,
            multi_tenant=True,  # PyTorch's own rendezvous shares the port
        )

    def leave(self) -> None:
        """Wait for the others at the end of the work; then each may end when it likes."""
        if self.size > 1 and torch.distributed.is_initialized():
            torch.distributed.barrier()
            self._over.set()
            # ESPnet leaves the group open; its threads then abort a process that ends.
            torch.distributed.destroy_process_group()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._store is None or error is None:
            self._over.set()
            return
        broken = isinstance(error, RuntimeError) and any(
            word in str(error).lower() for word in _WORDS
        )
        if broken and not isinstance(error, FeatnormError):
            # The other process's end broke the connection; the watch finds out which and why.
            self._silence = _BROKEN_SILENCE
            self._over.wait(_BROKEN_SILENCE + 5 * _BEAT)
        self._over.set()
        self._tell(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)
        if self.rank == 0:
            time.sleep(3 * _BEAT)  # the store goes with this process, and the others read it

    def _tell(self, reason: str) -> None:
        try:
            self._store.set(f"featnorm_se/end/{self.rank}", " ".join(reason.split())[:400])
        except RuntimeError:
            return  # the first process, which keeps the store, has gone before

    def _watch(self) -> None:
        began = time.monotonic()
        self._seen = {rank: (0, began) for rank in range(self.size) if rank != self.rank}
        while not self._over.wait(_BEAT):
            try:
                self._store.add(f"featnorm_se/beat/{self.rank}", 1)
                lost = self._lost()
            except RuntimeError:
                lost = "process 0 has ended" if self.rank else "the store has gone"
            if lost and not self._over.wait(_BEAT):
                self._end(lost)

    def _lost(self) -> str:
        """Return who has ended and why, as far as is known; nothing when all are there."""
        now = time.monotonic()
        for rank, (count, at) in self._seen.items():
            if self._store.check([f"featnorm_se/end/{rank}"]):
                reason = self._store.get(f"featnorm_se/end/{rank}").decode()
                return f"process {rank} has ended ({reason})"
            found = int(self._store.add(f"featnorm_se/beat/{rank}", 0))
            if found != count:
                self._seen[rank] = (found, now)
            elif now - at > (self._silence if count else _ARRIVAL):
                return f"process {rank} has been silent for {now - at:.0f} s"
        return ""

    def _end(self, lost: str) -> None:
        told = f"{lost}, so process {self.rank} of {self.size} ends too"
        self._tell(told)
        print(f"featnorm_se: error: {told}: start all again to go on", file=sys.stderr)
        sys.stderr.flush()
        os._exit(1)


def check_shares(args: argparse.Namespace, size: int) -> None:
    """Check that every process gets its share of each batch.

    Args:
        args: ESPnet's options.
        size: processes.

    Raises:
        FeatnormError: a set or a batch is smaller than the number of processes.
    """
    for part, prefix in (("training", ""), ("validation", "valid_")):
        listed = getattr(args, f"{prefix or 'train_'}data_path_and_name_and_type")[0][0]
        count = len(read_scp(listed))
        if count < size:
            raise FeatnormError(
                f"the {part} set has fewer utterances ({count}, {listed}) than there are processes"
                f" ({size}): make it larger, or start fewer"
            )
        key = f"{prefix}batch_size" if getattr(args, f"{prefix}batch_size") else "batch_size"
        kind = getattr(args, f"{prefix}batch_type") or args.batch_type
        if getattr(args, key) < size and kind in ("sorted", "unsorted", "folded"):
            raise FeatnormError(
                f"{key} is {getattr(args, key)}, less than the {size} processes that share each"
                f" batch: --set {key}={size}"
            )
