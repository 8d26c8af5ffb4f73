"""The commands: one thin main a stage. ``run`` turns bad input into one line and a status."""

import argparse
import errno
import os
import signal
import sys
from collections.abc import Callable, Sequence
from multiprocessing import active_children
from pathlib import Path
from typing import Any, NoReturn

from featnorm_se.errors import FeatnormError, say


class _Formatter(argparse.HelpFormatter):
    """Shows the default of an option that has one."""

    def _get_help_string(self, action: argparse.Action) -> str:
        default = action.default
        words = " ".join(default) if isinstance(default, (list, tuple)) else str(default)
        silent = words in ("", "None", "False", argparse.SUPPRESS)
        return (action.help or "") if silent else f"{action.help} (default: {words})"


class Parser(argparse.ArgumentParser):
    """A parser whose help has the defaults, and that refuses a command line in one line."""

    def __init__(self, prog: str, description: str | None) -> None:
        super().__init__(prog=prog, description=description, formatter_class=_Formatter)

    def error(self, message: str) -> NoReturn:
        """Raise FeatnormError with what argparse has to say."""
        raise FeatnormError(f"{message}: {self.prog} --help lists the options")


def count(text: str) -> int:
    """Read a number of processes or the like, an option's: 1 or more."""
    if not (text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 on")
    return int(text)


def add_upstream_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that name an upstream, its weights and its sites."""
    add = parser.add_argument
    add("--upstream", default="wavlm", help="name of the upstream")
    add(
        "--upstream_ckpt",
        type=lambda text: text or None,
        help="file, folder or name of Hugging Face's, 'scratch'; else the official one",
    )
    add(
        "--upstream_conf_dir",
        type=lambda text: Path(text) if text else None,
        help="folder of upstream cards that go before the package's",
    )
    add("--norm_site", default="auto", help="auto, frontend, projection, layer.K, last, all")
    add("--seed", type=int, default=0, help="of everything random")


def run(main: Callable[[Sequence[str]], None], argv: Sequence[str] | None = None) -> int:
    """Call ``main`` with the command line, the process's own where none is given.

    ``--debug`` anywhere on the line (it is taken off before parsing) shows the traceback.

    Returns:
        0 when all went well, 1 on bad input or a full disk, 130 when interrupted, 143 when ended
        by SIGTERM.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    signal.signal(signal.SIGTERM, _end)
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:  # as a shell's jobs behind & have it
        signal.signal(signal.SIGINT, _end)
    # Read when torch is loaded: threads that spin make small models very slow on busy cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Said after the error is let go, with the progress bars that it holds: the line is the last.
    status = 1
    try:
        main(arguments)
        return 0
    except _Ended:
        message, status = "ended by SIGTERM: the same command again does what is left", 143
    except KeyboardInterrupt:
        message, status = "interrupted: the same command again does what is left", 130
    except BrokenPipeError:
        # The reader (head, less) went away; that is no error of ours.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except ModuleNotFoundError as error:
        if debug or str(error.name).split(".")[0] not in ("espnet2", "s3prl"):
            raise
        message = f"{error.name} is not installed; on Python 3.11 only `make setup` brings it"
    except (FeatnormError, OSError, MemoryError, RuntimeError) as error:
        if debug or not (message := _message(error)):
            raise
    say(f"featnorm_se: error: {message}")
    return status


class _Ended(BaseException):
    """SIGTERM came. No ``except Exception`` on the way out takes it for an error."""


def _end(number: int, frame: Any) -> NoReturn:
    """Unwind on Ctrl-C or, as before a pre-emption, SIGTERM; the workers are ended first."""
    for child in active_children():
        child.terminate()
    raise KeyboardInterrupt if number == signal.SIGINT else _Ended


def _message(error: Exception) -> str:
    """Return the line for an error that the user can mend; nothing for any other."""
    if type(error).__name__ == "OutOfMemoryError":  # torch's
        mend = "--set batch_size=N in stage 3, --batch or --window of enhance"
        return f"the GPU is out of memory: take a smaller {mend}, or see --debug"
    if isinstance(error, MemoryError):
        return "out of memory: close other programs, or take fewer jobs (--nj), or see --debug"
    if "inline_container" in str(error) and not isinstance(error, FeatnormError):  # torch's writer
        return "cannot write the weights (disk full?): make room and give the same command again"
    if not isinstance(error, OSError):
        return str(error) if isinstance(error, FeatnormError) else ""
    where = f" {error.filename}" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"cannot write{where}: {error.strerror}: make room and give the same command again"
    # What no reader or writer has foreseen: a name that is too long, a closed folder.
    return f"cannot use{where}: {error.strerror}: mend it, or see --debug" if where else ""
