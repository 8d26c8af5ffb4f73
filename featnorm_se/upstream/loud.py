"""Which frames are the louder half of an utterance: where speech is more likely than a pause."""

from __future__ import annotations

import torch
from torch import Tensor

_WINDOW = 400  # samples, 25 ms


def loud_frames(wav: Tensor, wav_lengths: Tensor, lengths: Tensor, hop: int, offset: int) -> Tensor:
    """Find the half of each utterance's frames that has the most energy.

    Half of the frames whatever the noise, so that clean and noisy statistics are of like parts;
    a fixed distance from the loudest frame would take all frames of a noisy utterance.

    Args:
        wav: (B, N) samples.
        wav_lengths: (B,) valid samples.
        lengths: (B,) valid frames.
        hop: samples from frame to frame.
        offset: sample at the centre of frame 0.

    Returns:
        (B, T, 1) booleans, T the most valid frames; false in the padding. (n + 1) // 2 of n
        frames, more where several have the same energy, as in silence.
    """
    size = int(lengths.max())
    power = torch.cumsum(wav.double().square(), dim=1)
    power = torch.nn.functional.pad(power, (1, 0))
    centre = torch.arange(size, device=wav.device) * hop + offset
    found = torch.zeros(len(wav), size, 1, dtype=torch.bool, device=wav.device)
    for row, (samples, frames) in enumerate(
        zip(wav_lengths.tolist(), lengths.tolist(), strict=True)
    ):
        last = (centre[:frames] + _WINDOW // 2).clamp(max=samples)
        first = (centre[:frames] - _WINDOW // 2).clamp(min=0, max=samples)
        energy = power[row, last] - power[row, torch.minimum(first, last)]
        found[row, :frames, 0] = energy >= energy.kthvalue(frames // 2 + 1).values
    return found
