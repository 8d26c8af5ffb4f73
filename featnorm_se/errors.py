"""The one error that means "the input is wrong", as against "the program is wrong"."""

from __future__ import annotations


class FeatnormError(Exception):
    """Bad input, in one line: what is wrong, in which file or utterance, and the mend.

    Commands print it without a traceback and exit with status 1.
    """
