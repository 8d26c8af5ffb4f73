"""Long utterances in equal pieces, for transformers with a longest input."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

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

    Each is cut by its own length, so that the batch it is in makes no difference.

    Args:
        lengths: valid frames of each utterance.
        longest: frames of the longest piece; 0 for no limit.
        grid: the rows are parts of something longer that is cut into pieces of so many frames,
            and begin at these frames of it: cut them at the same places.

    Attributes:
        sizes: frames of the pieces of each utterance.
        valid: (P,) frames of each piece.
    """

    def __init__(
        self, lengths: list[int], longest: int, grid: tuple[int, list[int]] | None = None
    ) -> None:
        self.whole = grid is None and (longest <= 0 or max(lengths) <= longest)
        if grid is not None:
            size, starts = grid
            self.sizes = [_cut(n, size, at) for n, at in zip(lengths, starts, strict=True)]
        elif self.whole:
            self.sizes = [[n] for n in lengths]
        else:
            self.sizes = [_cut(n, piece_frames(n, longest)) for n in lengths]
        self.valid = torch.tensor([size for sizes in self.sizes for size in sizes])

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


def piece_frames(length: int, longest: int) -> int:
    """Return how many frames the pieces of an utterance have (the last one may have fewer)."""
    return math.ceil(length / math.ceil(length / longest))


def _cut(length: int, size: int, start: int = 0) -> list[int]:
    """Sizes of the pieces of ``length`` frames from ``start`` on, cut at multiples of ``size``."""
    edges = [start, *range((start // size + 1) * size, start + length, size), start + length]
    return [stop - begin for begin, stop in pairwise(edges)]
