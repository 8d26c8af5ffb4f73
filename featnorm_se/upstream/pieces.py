"""Long utterances in equal pieces, for transformers with a longest input."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence


@dataclass
class Part:
    """What the rows of a batch are parts of: a longer file's channels.

    Attributes:
        samples: of the whole file.
        channels: the file's channel that each row is a part of.
        starts: the file's sample at which each row begins.
    """

    samples: int
    channels: list[int]
    starts: list[int]


class Pieces:
    """Cut the utterances of a batch as ``torch.chunk`` cuts, and put them together again.

    Args:
        lengths: valid frames of each utterance.
        longest: frames of the longest piece; 0 for no limit.
        together: cut all utterances alike, as this many frames (s3prl's way); ``None`` cuts each
            by its own length, so that the batch it is in makes no difference.
        grid: the rows are parts of something longer that is cut into pieces of so many frames,
            and begin at these frames of it: cut them at the same places.

    Attributes:
        sizes: frames of the pieces of each utterance.
        valid: (P,) valid frames of each piece.
    """

    def __init__(
        self,
        lengths: list[int],
        longest: int,
        together: int | None = None,
        grid: tuple[int, list[int]] | None = None,
    ) -> None:
        totals = [n if together is None else together for n in lengths]
        self.whole = grid is None and (longest <= 0 or max(totals) <= longest)
        if grid is not None:
            size, starts = grid
            places = zip(totals, starts, strict=True)
            self.sizes = [_on_grid(n, size, start) for n, start in places]
        else:
            self.sizes = [[n] if self.whole else _chunks(n, longest) for n in totals]
        valid = [
            min(max(length - sum(sizes[:index]), 0), size)
            for length, sizes in zip(lengths, self.sizes, strict=True)
            for index, size in enumerate(sizes)
        ]
        self.valid = torch.tensor(valid)

    def split(self, x: Tensor) -> Tensor:
        """(B, T, D) utterances to (P, longest piece, D)."""
        if self.whole:
            return x
        rows = [
            piece
            for row, sizes in zip(x, self.sizes, strict=True)
            for piece in row[: sum(sizes)].split(sizes)
        ]
        return pad_sequence(rows, batch_first=True)

    def join(self, x: Tensor) -> Tensor:
        """(P, longest piece, D) pieces to (B, T, D)."""
        if self.whole:
            return x
        pieces = iter(x)
        joined = [
            torch.cat([piece[:n] for n, piece in zip(sizes, pieces, strict=False)])
            for sizes in self.sizes
        ]
        return pad_sequence(joined, batch_first=True)


def _chunks(length: int, longest: int) -> list[int]:
    """Sizes that ``torch.chunk(x, ceil(length / longest))`` gives."""
    return _on_grid(length, piece_frames(length, longest), 0)


def piece_frames(length: int, longest: int) -> int:
    """Return how many frames the pieces of an utterance have (the last one may have fewer)."""
    return math.ceil(length / math.ceil(length / longest))


def _on_grid(length: int, size: int, start: int) -> list[int]:
    """Sizes of the pieces of ``length`` frames from ``start`` on, cut at multiples of ``size``."""
    edges = [*range((start // size + 1) * size, start + length, size), start + length]
    return [stop - begin for begin, stop in zip([start, *edges], edges, strict=False)]
