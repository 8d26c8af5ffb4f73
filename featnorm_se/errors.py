"""The one error that means "the input is wrong", as against "the program is wrong"."""

import sys
from typing import TextIO


class FeatnormError(Exception):
    """Bad input, in one line: what is wrong, in which file or utterance, and the mend.

    Commands print it without a traceback and exit with status 1.
    """


def say(line: str, file: TextIO | None = None) -> None:
    """Print a line, on stderr; what is not printable is escaped: names of files hold anything."""
    plain = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)
    print(plain, file=file or sys.stderr, flush=True)
