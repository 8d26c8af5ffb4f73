"""The commands: one thin main a stage. ``run`` turns bad input into one line and a status."""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from featnorm_se.ending import Ended, ended_by_sigterm
from featnorm_se.errors import FeatnormError

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Parser(argparse.ArgumentParser):
    """A parser that tells a wrong command line as all bad input is told: in one line."""

    def error(self, message: str) -> NoReturn:
        """Raise FeatnormError with what argparse has to say."""
        raise FeatnormError(f"{message}: {self.prog} --help lists the options")


def run(main: Callable[[Sequence[str]], None], argv: Sequence[str] | None = None) -> int:
    """Call ``main`` with the command line and turn its outcome into an exit status.

    ``--debug`` anywhere on the line (it is taken off before parsing) shows the traceback.

    Args:
        main: takes the arguments (without the program's name), returns nothing.
        argv: the arguments; ``None`` takes those of the process.

    Returns:
        0 when all went well, 1 on bad input or a full disk, 130 when interrupted, 143 when ended
        by SIGTERM.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    try:
        with ended_by_sigterm():
            main(arguments)
    except Ended:
        print(
            "featnorm_se: error: ended by SIGTERM: the same command again goes on from here",
            file=sys.stderr,
        )
        return 143
    except FeatnormError as error:
        if debug:
            raise
        print(f"featnorm_se: error: {one_line(str(error))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("featnorm_se: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader (head, less) went away; that is no error of ours.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        full = error.errno in _NO_ROOM
        if debug or not (full or error.filename):
            raise
        where = f" {error.filename}" if error.filename else ""
        # Or what no reader or writer has foreseen: a name that is too long, a closed folder.
        told = f"cannot write{where}" if full else f"cannot use{where}"
        mend = "make room and give the same command again" if full else "mend it, or see --debug"
        print(
            f"featnorm_se: error: {one_line(f'{told}: {error.strerror}: {mend}')}", file=sys.stderr
        )
        return 1
    except MemoryError:
        if debug:
            raise
        told = "out of memory: close other programs, or take fewer jobs (--nj), or see --debug"
        print(f"featnorm_se: error: {told}", file=sys.stderr)
        return 1
    return 0


def one_line(text: str) -> str:
    """Return a text with what is not printable escaped: names of files can hold anything."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
