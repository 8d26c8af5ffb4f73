"""Long utterances in equal pieces, for transformers with a longest input."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence


class Pieces:
    """Cut the utterances of a batch as ``torch.chunk`` cuts, and put them together again.

    Args:
        lengths: valid frames of each utterance.
        longest: frames of the longest piece; 0 for no limit.
        together: cut all utterances alike, as this many frames (s3prl's way); ``None`` cuts each
            by its own length, so that the batch it is in makes no difference.

    Attributes:
        sizes: frames of the pieces of each utterance.
        valid: (P,) valid frames of each piece.
    """

    def __init__(self, lengths: list[int], longest: int, together: int | None = None) -> None:
        totals = [n if together is None else together for n in lengths]
        self.whole = longest <= 0 or max(totals) <= longest
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
    size = math.ceil(length / math.ceil(length / longest))
    return [min(size, length - start) for start in range(0, length, size)]
