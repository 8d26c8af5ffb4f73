"""The commands: one thin main a stage. ``run`` turns bad input into one line and a status."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

from featnorm_se.errors import FeatnormError


def run(main: Callable[[Sequence[str]], None], argv: Sequence[str] | None = None) -> int:
    """Call ``main`` with the command line and turn its outcome into an exit status.

    ``--debug`` anywhere on the line (it is taken off before parsing) shows the traceback.

    Args:
        main: takes the arguments (without the program's name), returns nothing.
        argv: the arguments; ``None`` takes those of the process.

    Returns:
        0 when all went well, 1 on bad input, 130 when interrupted.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    try:
        main(arguments)
    except FeatnormError as error:
        if debug:
            raise
        print(f"featnorm_se: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("featnorm_se: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader (head, less) went away; that is no error of ours.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0
