"""One signal through a model of ``small_models.py``: resampled for it, its delay taken off."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import soxr
from numpy.typing import NDArray
from small_models import Model

RATE = 16000
MOST_DELAY = 0.2  # seconds that are searched for a model's delay


def enhance(
    model: Model, delay: int, x: NDArray[np.float32], rate: int = RATE
) -> tuple[NDArray[np.float32], float]:
    """Enhance one signal and take the delay off.

    Args:
        model: which, in its first state.
        delay: in samples at the model's rate.
        x: (N,).
        rate: of x, in Hz.

    Returns:
        (ceil(N * 16000 / rate),) at 16 kHz, and the seconds of CPU time that it took.
    """
    process = model.fresh()
    began = time.process_time()
    # At the end as many samples more, to get out what the model still holds.
    y = process(np.pad(_resample(x, rate, model.rate), (0, delay)))[delay:]
    samples = -(-len(x) * RATE // rate)
    y = _resample(np.asarray(y, dtype=np.float32), model.rate, RATE)[:samples]
    spent = time.process_time() - began
    return np.pad(y, (0, samples - len(y))), spent


def _resample(x: NDArray[np.float32], rate: int, target: int) -> NDArray[np.float32]:
    return x if rate == target else soxr.resample(x, rate, target, "VHQ").astype(np.float32)


def measure_delay(model: Model, speech: Sequence[NDArray[np.float32]]) -> int:
    """Return a model's delay in samples at its rate: the median over some clean speech.

    It is where the cross-correlation of output and input is largest, of 0 to 200 ms.

    Args:
        model: which.
        speech: some (N,) at 16 kHz.
    """
    most = round(MOST_DELAY * model.rate)
    found = []
    for x in speech:
        at_rate = np.pad(_resample(x, RATE, model.rate), (0, most))
        y = np.asarray(model.fresh()(at_rate), dtype=np.float32)[: len(at_rate)]
        size = 2 * len(at_rate)
        product = np.fft.rfft(y, size) * np.conj(np.fft.rfft(at_rate, size))
        found.append(int(np.argmax(np.fft.irfft(product, size)[: most + 1])))
    return int(np.median(found))
