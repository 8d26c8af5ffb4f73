"""Many signals through a model: on a GPU those of like length at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from featnorm_se.data.audio import FloatArray
from featnorm_se.data.parallel import Beside
from featnorm_se.errors import FeatnormError
from featnorm_se.inference.long_signal import TURN, Signal, enhance_signal, without_offset
from featnorm_se.inference.windows import Windowing, follow_talkers, plan_windows
from featnorm_se.upstream.batching import SILENCE, like_lengths

if TYPE_CHECKING:
    from featnorm_se.inference.enhancer import Enhancer


def enhance_signals(
    enhancer: Enhancer,
    signals: Sequence[Signal],
    windowing: Windowing,
    label: str = "",
    run: Beside = map,
) -> Iterator[tuple[int, Iterable[FloatArray]]]:
    """Enhance many signals; on a GPU those of like length and up to a window at once.

    Args:
        enhancer, signals, windowing, label: the model, the noisy signals, how a long one is cut,
            and see ``enhance_signal``.
        run: what reads the signals of a batch, as of ``beside``.

    Yields:
        A signal's number and what ``enhance_signal`` yields of it, an error where it is bad; a
        list is done already, and needs the model no more.
    """
    for batch in like_lengths([s.samples * s.channels for s in signals], enhancer.device):
        several = [signals[number] for number in batch]
        pieces: list[Iterable[FloatArray]] = [
            enhance_signal(enhancer, signal, windowing, label) for signal in several
        ]
        if len(batch) > 1 and len(plan_windows(max(s.samples for s in several), windowing)) == 1:
            with suppress(FeatnormError):  # one by one they say which of them is bad
                pieces = [[y] for y in _enhance_together(enhancer, list(run(_loaded, several)))]
        yield from zip(batch, pieces, strict=True)


def _loaded(signal: Signal) -> Signal:
    """Return a signal in memory, without its offset, as one block."""
    ready = without_offset(Signal.of(np.concatenate([*signal.blocks()])))
    whole = np.concatenate([*ready.blocks()])
    return replace(ready, blocks=lambda: iter([whole]))


def _enhance_together(enhancer: Enhancer, signals: list[Signal]) -> list[FloatArray]:
    """Enhance whole signals that are in memory at once, to (samples, channels) each."""
    whole = [torch.from_numpy(next(signal.blocks())) for signal in signals]
    limits = [limit for signal in signals for limit in signal.silence]
    upstream = enhancer.separator.upstream
    with TURN:
        try:
            upstream.silence = torch.tensor(limits, device=enhancer.device)[:, None]
            done = enhancer.enhance([row for x in whole for row in x.unbind(dim=1)])
        finally:
            upstream.silence = SILENCE
    channels = iter(np.atleast_2d(y.numpy()) for y in done)
    found = [np.stack([next(channels) for _ in range(s.channels)], axis=1) for s in signals]
    return [next(follow_talkers([y], [])) for y in found]
