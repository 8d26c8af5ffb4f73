"""Ending on SIGTERM, as before a pre-emption: soon, and with what is half-written removed."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_GRACE = 20.0  # seconds to unwind; Slurm kills after 30


class Ended(BaseException):
    """SIGTERM came. No ``except Exception`` on the way out takes it for an error."""


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """Unwind the block on SIGTERM, and end this process's children.

    Outside the main thread, which alone may handle signals, it does nothing.

    Raises:
        Ended: SIGTERM came, whatever the code in the block has turned it into.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ending = _Ending()
    before = signal.signal(signal.SIGTERM, ending.handle)
    told, thread_told = sys.unraisablehook, threading.excepthook
    sys.unraisablehook = ending.swallowed
    try:
        yield
    except BaseException as error:
        if ending.timer is None or isinstance(error, Ended):
            raise
        raise Ended("SIGTERM") from error
    finally:
        if ending.timer is not None:
            ending.timer.cancel()
        sys.unraisablehook, threading.excepthook = told, thread_told
        signal.signal(signal.SIGTERM, before)


class _Ending:
    """One SIGTERM: handled once, and again where Python itself has swallowed the exception."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self.timer: threading.Timer | None = None
        self._again = False
        self._told = sys.unraisablehook

    def handle(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self.owner:  # a fork of this process
            os._exit(128 + number)
        if self.timer is not None and not self._again:
            return  # a second signal must not break into what the first one began
        self._again = False
        if self.timer is None:
            self.timer = threading.Timer(_GRACE, os._exit, (128 + number,))
            self.timer.daemon = True
            self.timer.start()
        # Threads of pools stumble over what is cancelled now; nobody is to read of it.
        threading.excepthook = _say_nothing
        # PyTorch's handler would raise when the processes that load data go, now or below.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        if "multiprocessing" in sys.modules:
            for child in sys.modules["multiprocessing"].active_children():
                child.terminate()
        raise Ended("SIGTERM")

    def swallowed(self, unraisable: sys.UnraisableHookArgs) -> None:
        """Send the signal again when it came in a callback (of fork, of the garbage collector)."""
        if not isinstance(unraisable.exc_value, Ended):
            self._told(unraisable)
            return
        self._again = True
        threading.Timer(0.05, os.kill, (self.owner, signal.SIGTERM)).start()


def _say_nothing(_: threading.ExceptHookArgs) -> None:
    """Stand in for the hook that prints what ends a thread."""
