"""Audio in and out by libsndfile, and at another sampling rate.

A corpus is resampled by torchaudio's windowed sinc, a stream by soxr. Scores feel the resampler
(noisy VoiceBank-DEMAND: PESQ_WB 1.972 with torchaudio's defaults, 1.968 with soxr), so every file
of a corpus goes through ``resample``, and ``describe_resampler`` goes into the records.
"""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import gcd
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featnorm_se.data.decoding import NO_LENGTH, playable
from featnorm_se.data.scp import open_value
from featnorm_se.errors import FeatnormError
from featnorm_se.files import PathLike, atomic_path

FloatArray = NDArray[np.float32]

# libsndfile's log of a cut WAV, AIFF, RF64, W64 or AU file.
_CUT = re.compile(r"(?m)^ *(?:data|SSND|Riff size|riff|Data Size) *: (\d+) \(should be (\d+)\)")
# Its log of a WAV whose length was never written: what lies behind is no chunk.
_UNCLOSED = re.compile(r"\ndata : 0\n\W*(?:Unknown chunk|Have 0) marker")
# Twins may differ by so many samples, 10 ms at 16 kHz: a frame's hop.
LENGTH_SLACK = 160
_BLOCK_ALIGN = re.compile(r"^\s*Block Align\s*:\s*(\d+)", re.MULTILINE)
_PIPED = 0x7FFFF000
_STEPS = {"PCM_U8": 128, "PCM_S8": 128, "PCM_16": 32768}  # from 0 to full scale
_BLOCK = 1 << 16  # samples a channel read at a time
_UNKNOWN = 1 << 62  # what libsndfile says, or more, of a FLAC that was written to a pipe


@dataclass(frozen=True)
class AudioInfo:
    """What a file's header says: samples a channel, rate in Hz, channels, and if it is float."""

    frames: int
    sample_rate: int
    channels: int
    is_float: bool = field(default=False, compare=False)


@contextmanager
def open_audio(path: PathLike, allow_pipes: bool = False) -> Iterator[Any]:
    """Open a file, or what else an scp's value may be, as a ``soundfile.SoundFile``.

    Raises:
        FeatnormError: there is no such file, it is no audio or cut short, or, in the block, it
            cannot be read to its end.
    """
    import soundfile

    failure = "is no audio that libsndfile reads"
    errors: tuple[type[Exception], ...] = (RuntimeError, ValueError, TypeError)
    try:
        with playable(open_value(path, allow_pipes)) as file, soundfile.SoundFile(file) as handle:
            _check_whole(path, handle.extra_info)
            if handle.frames >= _UNKNOWN:  # soundfile cannot read such a one to its end
                raise FeatnormError(f"{path} {NO_LENGTH}")
            # From here on, the caller's own code may raise the others.
            failure, errors = "cannot be read to its end", (soundfile.SoundFileError,)
            yield handle
    except errors as error:  # TypeError: a headerless .raw
        reason = getattr(error, "error_string", error)
        raise FeatnormError(f"{path} {failure}: {reason}") from error


def audio_info(path: PathLike) -> AudioInfo:
    """Read the header of a file, or of an archive's entry (``file.ark:123``).

    Raises:
        FeatnormError: there is no such file, or libsndfile does not read it.
    """
    with open_audio(path) as handle:
        is_float = handle.subtype in ("FLOAT", "DOUBLE")
        return AudioInfo(int(handle.frames), int(handle.samplerate), int(handle.channels), is_float)


def _check_whole(name: PathLike, log: str) -> None:
    """Refuse a file that was cut, or whose length was not written: only libsndfile's log tells."""
    cut = _CUT.search(log)
    align = _BLOCK_ALIGN.search(log)
    # Programs that write to a pipe cannot know the size, and promise the largest there is. Others
    # count the byte that makes the size even: less than a sample is nothing lost.
    if cut and int(cut[2]) + int(align[1] if align else 2) <= int(cut[1]) < _PIPED:
        mend = "get it again (what a stage made: remove it and run that stage)"
        raise FeatnormError(f"{name} is cut short: it has {cut[2]} of {cut[1]} bytes: {mend}")
    if _UNCLOSED.search(log):
        mend = "if a recorder broke off, ffmpeg -ignore_length 1 -i OLD NEW mends it"
        raise FeatnormError(f"{name} has no samples by its header, but more behind that: {mend}")


def read_audio(path: PathLike, sample_rate: int | None = 16000) -> FloatArray:
    """Read one mono file, or a place in a Kaldi archive, as float32 in [-1, 1], (N,), N > 0.

    ``sample_rate`` is the rate in Hz that it must have; ``None`` takes any.

    Raises:
        FeatnormError: see ``read_any_audio``; or it has several channels or another rate.
    """
    samples, rate = read_any_audio(path)
    mono = to_mono(samples, path)
    if sample_rate is not None and rate != sample_rate:
        fault = f"{path} is sampled at {rate} Hz, {sample_rate} Hz is wanted"
        raise FeatnormError(f"{fault}: run stage 1, which resamples, or resample the file")
    return mono


def to_mono(samples: FloatArray, path: PathLike) -> FloatArray:
    """Return the one channel, shape (N,), of (N, channels); several that are alike count as one.

    Raises:
        FeatnormError: the channels differ.
    """
    if (samples != samples[:, :1]).any():
        raise FeatnormError(f"{path} has {samples.shape[1]} channels, one is wanted")
    return np.ascontiguousarray(samples[:, 0])


def check_lengths(paths: Sequence[PathLike], lengths: Sequence[int]) -> int:
    """Return how many samples twins have in common: the longer ones' ends may be left out.

    Raises:
        FeatnormError: they differ by more than ``LENGTH_SLACK``.
    """
    least, most = min(lengths), max(lengths)
    if most - least > LENGTH_SLACK:
        long, short = (paths[lengths.index(size)] for size in (most, least))
        fault = f"{long} has {most} samples, {short} {least}"
        raise FeatnormError(f"other length: {fault}; at most {LENGTH_SLACK} may differ")
    return least


def read_any_audio(
    path: PathLike, allow_pipes: bool = False, span: tuple[float, float] = (0.0, -1.0)
) -> tuple[FloatArray, int]:
    """Read a file or an archive's entry, of any rate and number of channels.

    Args:
        path: the file, ``file.ark:123``, or, with ``allow_pipes``, ``command |``.
        allow_pipes: run a command; only where the user has said so.
        span: where to begin and to end, in seconds; below 0: at the end. As in Kaldi, it may go
            half a second beyond.

    Returns:
        The samples, shape (N, channels) float32 with N > 0, and the rate in Hz.

    Raises:
        FeatnormError: the file is missing, no audio, empty, cut short, or holds NaN or
            infinite samples.
    """
    with open_audio(path, allow_pipes) as handle:
        frames, rate = int(handle.frames), int(handle.samplerate)
        begin, end = (round(time * rate) for time in span)
        if end > frames + rate // 2:
            raise FeatnormError(f"{path} ends at {frames / rate:g} s, before {span[1]} s")
        frames = (min(end, frames) if end >= 0 else frames) - begin
        if frames < 1:
            part = f" from {span[0]} to {span[1]} s" if begin else ""
            raise FeatnormError(f"{path} has no samples{part}")
        if begin:
            handle.seek(begin)
        return np.concatenate(list(read_blocks(handle, path, frames))), rate


def read_blocks(handle: Any, path: PathLike, frames: int) -> Iterator[FloatArray]:
    """Read so many samples of an open file: (n, channels) float32 blocks, n at most 65,536.

    Raises:
        FeatnormError: the file is cut short or holds NaN or infinite samples.
    """
    left = frames
    while left:
        block = handle.read(min(left, _BLOCK), dtype="float32", always_2d=True)
        if not len(block):
            raise FeatnormError(f"{path} is cut short: {left} of {frames} samples are missing")
        check_samples(block, str(path))
        left -= len(block)
        yield block


def check_samples(samples: FloatArray, name: str) -> None:
    """Refuse NaN, infinite samples, and floats in the scale of int16."""
    peak = np.abs(samples).max()
    if not peak < np.inf:
        raise FeatnormError(f"{name} holds NaN or infinite samples")
    if peak > 32:  # louder than any recording
        fault = f"{name}: samples reach {peak:g}, full scale is 1"
        raise FeatnormError(f"{fault}: divide those of int16 by 32768")


def rounded(samples: FloatArray, subtype: str) -> FloatArray:
    """Round to a sample format's nearest step, since libsndfile rounds down."""
    steps = np.float32(_STEPS.get(subtype, 0))
    return np.rint(samples * steps) / steps if steps else samples


def write_audio(
    path: PathLike, samples: FloatArray, sample_rate: int = 16000, subtype: str = "PCM_16"
) -> None:
    """Write a file, whole or not at all; the name's ending (.wav, .flac, ...) is the format.

    Samples are (N,) or (N, channels), in [-1, 1]; what lies outside is clipped, but in the subtype
    FLOAT. FeatnormError: the file cannot be written, as when the disk is full.
    """
    import soundfile

    with atomic_path(path) as temporary, naming(f"cannot write {path} (disk full?)"):
        kept = samples if subtype == "FLOAT" else rounded(np.clip(samples, -1.0, 1.0), subtype)
        soundfile.write(os.fsencode(temporary), kept, sample_rate, subtype=subtype)


@contextmanager
def naming(failure: str) -> Iterator[None]:
    """Raise libsndfile's errors as FeatnormError: the failure and libsndfile's reason."""
    try:
        yield
    except (RuntimeError, ValueError, AssertionError) as error:
        # soundfile asserts, with no text, that all was written.
        raise FeatnormError(f"{failure}: {getattr(error, 'error_string', error)}") from error


def resample(samples: FloatArray, rate: int, target: int) -> FloatArray:
    """Bring one channel, shape (N,) float32, from a rate to another, both in Hz.

    Returns:
        Shape (ceil(N * target / rate),), float32; the input itself when the rates are equal.
    """
    if rate == target:
        return samples
    import torch
    from torchaudio.functional import resample as sinc_resample

    with torch.inference_mode():
        tensor = torch.from_numpy(np.ascontiguousarray(samples, dtype=np.float32))
        return sinc_resample(tensor, rate, target).numpy()


def resample_blocks(blocks: Iterable[FloatArray], rate: int, target: int) -> Iterator[FloatArray]:
    """Resample a signal given in blocks (n, channels) of any lengths, rates in Hz.

    Beyond its ends the first and the last sample go on, so that an offset makes no click.

    Yields:
        (m, channels) float32; together ceil(N * target / rate) samples.
    """
    if rate == target:
        yield from blocks
        return
    import soxr

    common = gcd(rate, target)
    ahead = -(-common // 20)  # 50 ms or a little more, whole at both rates
    held, made = rate // common * ahead, -target // common * ahead
    stream: soxr.ResampleStream | None = None
    frames = 0
    for block in filter(len, blocks):
        block = np.ascontiguousarray(block, dtype=np.float32)
        if stream is None:
            stream = soxr.ResampleStream(rate, target, block.shape[1], quality="VHQ")
            made += len(stream.resample_chunk(block[:1].repeat(held, axis=0)))
        piece = stream.resample_chunk(block)
        frames, made = frames + len(block), made + len(piece)
        if made > 0 and len(piece):
            yield piece[-made:]
    if stream is not None:
        rest = stream.resample_chunk(block[-1:].repeat(held, axis=0), last=True)
        rest = rest[max(-made, 0) :]
        yield rest[: resampled_length(frames, rate, target) - max(made, 0)]


def resampled_length(frames: int, rate: int, target: int) -> int:
    """Return how many samples ``frames`` samples become: the quotient, rounded up."""
    return -(-frames * target // rate)


def describe_resampler() -> dict[str, str]:
    """Return the name and settings of a corpus's resampler and the versions it comes from."""
    from importlib.metadata import version

    return {
        "resampler": "torchaudio.functional.resample, defaults (sinc_interp_hann,"
        " lowpass_filter_width 6, rolloff 0.99)",
        "torchaudio": version("torchaudio"),
        "torch": version("torch"),
    }
