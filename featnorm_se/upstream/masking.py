"""SpecAugment for fine-tuning: the families' own masking, with rates set on purpose.

The rates that the checkpoints carry are those of pre-training, which hides half of the signal;
fine-tuning for enhancement hides far less.
"""

from __future__ import annotations

TIME_MASK_RATE = 0.05  # share of frames at which a span may begin
TIME_MASK_FRAMES = 5  # length of a span
CHANNEL_MASK_RATE = 0.05  # share of channels at which a band may begin
CHANNEL_MASK_WIDTH = 8  # width of a band

MEL_TIME_MASK = 20  # longest span, frames
MEL_FREQUENCY_MASK = 9  # widest band, mel channels
