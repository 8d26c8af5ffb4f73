"""Padded batches: checks, masks and zeros; silence cut out; long utterances in equal pieces."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from featnorm_se.errors import FeatnormError


def padding_mask(lengths: Tensor, size: int, device: torch.device) -> Tensor:
    """Return (B, size) booleans, true in the padding, for valid lengths (B,)."""
    return torch.arange(size, device=device) >= on_device(lengths, device)[:, None]


def on_device(lengths: Tensor, device: torch.device) -> Tensor:
    """Return lengths (B,) where they are needed.

    They live on the CPU, where reading them waits for no GPU, nor does this copy of them.
    Equal ones are written there anew, for a recording could not hold a copy.
    """
    if lengths.device.type == "cpu" != device.type and bool((lengths == lengths[0]).all()):
        return torch.full_like(lengths, int(lengths[0]), device=device)
    return lengths.to(device, non_blocking=True)


def valid_frames(lengths: Tensor, size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return a mask (B, size, 1), false in the padding, and the lengths in 1..size, (B, 1, 1)."""
    there = on_device(lengths, device)[:, None, None]
    return torch.arange(size, device=device)[:, None] < there, there.clamp(1, size)


def zero_padding(x: Tensor, lengths: Tensor) -> Tensor:
    """Return x (B, T, D) with zeros behind each utterance's valid frames, of (B,) ``lengths``."""
    if int(lengths.min()) >= x.size(1):
        return x
    return x.masked_fill(padding_mask(lengths, x.size(1), x.device).unsqueeze(-1), 0.0)


# What varies by less than two steps of 16 bits, as dither does, is no signal.
SILENCE = 2.0**-14
BLOCK = 160  # samples that are judged together: 10 ms
BATCH_SAMPLES = 120 * 16000  # that a GPU gets at once; 4 GB with a Base model


def silence_limit(loudest: float) -> float:
    """Return what the blocks of a recording must vary by to hold a signal.

    In a quiet recording that is 60 dB below its ``loudest`` block, but a step of 24 bits at least.
    """
    return min(SILENCE, max(2.0**-23, 1e-3 * loudest))


def block_deviation(wav: Tensor, block: int = BLOCK) -> Tensor:
    """Return the deviation of the samples of each block, (B, T); T is N / block, rounded up."""
    padded = F.pad(wav, (0, -wav.size(1) % block), mode="replicate")
    return padded.unflatten(1, (-1, block)).std(-1, unbiased=False)


def signal_blocks(
    wav: Tensor, wav_lengths: Tensor, block: int = BLOCK, limit: float | Tensor | None = None
) -> Tensor:
    """Return which blocks hold a signal, (B, T) booleans; T is N / block, rounded up.

    A block does not where its samples deviate by less than the limit, and those of the blocks on
    either side as well. Mute, gated and edited recordings are full of such blocks.

    Args:
        wav, wav_lengths: (B, N) samples in [-1, 1], (B,) of them valid.
        block: samples in a block.
        limit: see ``silence_limit``, of all or of each (B, 1); ``None``: that of ``wav``, which is
            then one recording.
    """
    deviation = block_deviation(wav, block)
    varies = deviation >= (silence_limit(float(deviation.max())) if limit is None else limit)
    near = F.max_pool1d(varies[:, None].float(), 3, stride=1, padding=1)[:, 0] > 0
    return near & ~padding_mask((wav_lengths - 1) // block + 1, near.size(1), wav.device)


def may_hold_silence(wav: Tensor, block: int = BLOCK) -> bool:
    """Whether any whole block of wav (B, N), its padding included, may hold no signal.

    Where it says no, ``signal_blocks`` finds a signal in all, be it in another rounding of wav.
    """
    whole = wav[:, : wav.size(1) // block * block].unflatten(1, (-1, block))
    if not whole.numel():
        return True
    # A fifth of the time of torch's own deviation, and as exact where there is no signal.
    varies = whole - whole[..., :1]
    variance = varies.square().mean(-1) - varies.mean(-1).square()
    return bool(variance.min() < (1.01 * SILENCE) ** 2)


def keep_blocks(
    wav: Tensor, wav_lengths: Tensor, kept: Tensor, block: int = BLOCK
) -> tuple[Tensor, Tensor]:
    """Return waveforms (B, N') of the kept blocks alone, and their valid samples (B,).

    ``wav`` is (B, N), ``kept`` (B, T) is what ``signal_blocks`` returns, with a block in each row.
    """
    if bool(kept.all()) and int(wav_lengths.min()) == wav.size(1):
        return wav, wav_lengths
    masks = kept.repeat_interleave(block, dim=1)
    rows = [x[:n][m[:n]] for x, m, n in zip(wav, masks, wav_lengths.tolist(), strict=True)]
    return pad_sequence(rows, batch_first=True), wav_lengths.new_tensor([len(row) for row in rows])


def like_lengths(lengths: Sequence[int], device: torch.device) -> list[list[int]]:
    """Return the numbers of the utterances of each batch, of like length, the longest first.

    On a GPU a batch holds 2 minutes with its padding; on a CPU each utterance goes alone.
    """
    if device.type == "cpu":
        return [[number] for number in range(len(lengths))]
    batches: list[list[int]] = []
    for number in sorted(range(len(lengths)), key=lambda n: -lengths[n]):
        if not batches or lengths[batches[-1][0]] * (len(batches[-1]) + 1) > BATCH_SAMPLES:
            batches.append([])
        batches[-1].append(number)
    return batches


def check_batch(wav: Tensor, wav_lengths: Tensor, shortest: int) -> tuple[Tensor, list[int]]:
    """Check a padded batch of waveforms and bring it to the size of its longest utterance.

    Args:
        wav: (B, N) samples.
        wav_lengths: (B,) valid samples, on the CPU.
        shortest: samples of one frame; shorter batches get zeros behind, up to it.

    Returns:
        wav (B, max(longest, shortest)) float32 with zeros in the padding, and the valid samples
        as a list.

    Raises:
        FeatnormError: the shapes do not fit, or a length is not in 1..N.
    """
    lengths = wav_lengths.tolist()
    fits = wav.dim() == 2 and len(lengths) == len(wav) > 0 and {*map(type, lengths)} == {int}
    if not (fits and wav.is_floating_point() and min(lengths) >= 1 and max(lengths) <= wav.size(1)):
        fault = "an upstream takes waveforms (B, N) of floats with whole lengths (B,) in 1..N"
        raise FeatnormError(f"{fault}, not {tuple(wav.shape)} of {wav.dtype} with {lengths[:8]}")
    longest = max(lengths)
    wav = wav[:, :longest].float()
    if min(lengths) < longest:
        wav = wav.masked_fill(padding_mask(wav_lengths, longest, wav.device), 0.0)
    if longest < shortest:
        wav = F.pad(wav, (0, shortest - longest))
    return wav, lengths


@dataclass
class Part:
    """What the rows of a batch are parts of: a longer file.

    Attributes:
        samples: of the whole file.
        starts: the file's sample at which each row begins.
    """

    samples: int
    starts: list[int]


def split_pieces(x: Tensor, sizes: list[list[int]]) -> Tensor:
    """Cut utterances (B, T, D) into pieces (P, longest, D) of so many frames, listed for each."""
    if max(map(len, sizes)) == 1:
        return x
    rows = [p for r, own in zip(x, sizes, strict=True) for p in r[: sum(own)].split(own)]
    return pad_sequence(rows, batch_first=True)


def join_pieces(x: Tensor, sizes: list[list[int]]) -> Tensor:
    """Put the pieces of ``split_pieces`` together again, to (B, T, D)."""
    if max(map(len, sizes)) == 1:
        return x
    pieces = iter(x)
    joined = [torch.cat([p[:n] for n, p in zip(own, pieces, strict=False)]) for own in sizes]
    return pad_sequence(joined, batch_first=True)


def piece_sizes(frames: int, size: int, start: int = 0) -> list[int]:
    """Return the frames of the pieces of ``frames`` from ``start`` on, cut at multiples of size."""
    edges = [start, *range((start // size + 1) * size, start + frames, size), start + frames]
    return [stop - begin for begin, stop in pairwise(edges)]
