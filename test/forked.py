"""Commands in processes forked from the tests' own, where torch and ESPnet are imported already."""

import multiprocessing
import os
import sys
from importlib import import_module
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

from featnorm_se.bin import run


def fork(function: Any, *arguments: Any) -> ForkProcess:
    """Call a function in a process of its own; return that."""
    process = multiprocessing.get_context("fork").Process(target=function, args=arguments)
    process.start()
    return process


def fork_command(word: str, options: list[str], log: Path) -> ForkProcess:
    """Run one of the package's commands, as a group of processes; what it says goes to a log."""
    return fork(_command, word, options, log)


def _command(word: str, options: list[str], log: Path) -> None:
    os.setsid()
    sys.stderr = log.open("w", buffering=1)
    os._exit(run(import_module(f"featnorm_se.bin.{word}").main, options))
