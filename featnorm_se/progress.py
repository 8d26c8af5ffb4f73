"""How far a long work is, and the time left, on stderr."""

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def progress(
    items: Iterable[Item], label: str, total: int | None = None, unit: str = "file"
) -> Iterator[Item]:
    """Pass the items on while a bar shows how many are done; a log gets a line every 5 seconds."""
    from tqdm import tqdm

    terminal = sys.stderr.isatty()
    yield from tqdm(
        items,
        desc=label,
        total=total,
        unit=unit,
        mininterval=0.2 if terminal else 5.0,
        ncols=None if terminal else 80,
    )
