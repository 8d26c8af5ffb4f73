"""Audio files in and out, by libsndfile."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featnorm_se.data.scp import is_command, read_archive, split_archive
from featnorm_se.errors import FeatnormError
from featnorm_se.files import atomic_path

FloatArray = NDArray[np.float32]

# What counts as audio wherever a folder is looked through.
AUDIO_SUFFIXES = (
    (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au", ".snd")
    + (".caf", ".w64", ".rf64", ".sph", ".nist")
)  # fmt: skip
_CUT = re.compile(r"^\s*(?:data|SSND)\s*:\s*(\d+) \(should be (\d+)\)", re.MULTILINE)
_PIPED = 0x7FFFF000


@dataclass(frozen=True)
class AudioInfo:
    """What a file's header says: samples a channel, rate in Hz, and channels."""

    frames: int
    sample_rate: int
    channels: int


def audio_info(path: str | os.PathLike[str]) -> AudioInfo:
    """Read a file's header only; of an archive's entry (``file.ark:123``), all of it.

    Raises:
        FeatnormError: there is no such file, or libsndfile does not read it.
    """
    import soundfile

    if is_command(path):
        raise FeatnormError(
            f"{os.fspath(path)!r} is a command, which is not run here: prepare the data from the"
            " scp with stage 1 and --allow_pipes true"
        )
    place = split_archive(path)
    if place:
        samples, rate = read_archive(*place)
        return AudioInfo(len(samples), rate, samples.shape[1])
    if not os.path.isfile(path):
        raise FeatnormError(f"no such audio file: {path}")
    try:
        header = soundfile.info(os.fspath(path))
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise FeatnormError(f"{path} is no audio that libsndfile reads: {error}") from error
    check_whole(path, header.extra_info)
    return AudioInfo(int(header.frames), int(header.samplerate), int(header.channels))


def check_whole(name: str | os.PathLike[str], log: str) -> None:
    """Refuse a WAV or AIFF file that was cut: libsndfile mends the header, only its log says so.

    Raises:
        FeatnormError: the log says so.
    """
    cut = _CUT.search(log)
    # Programs that write to a pipe cannot know the size, and promise the largest there is.
    if cut and int(cut[2]) < int(cut[1]) < _PIPED:
        raise FeatnormError(
            f"{name} is cut short: its header promises {cut[1]} bytes of samples, it has {cut[2]}"
        )


def read_audio(path: str | os.PathLike[str], sample_rate: int | None = 16000) -> FloatArray:
    """Read one mono file as float32 in [-1, 1].

    Args:
        path: the file, or a place in a Kaldi archive, ``file.ark:123``.
        sample_rate: the rate in Hz that it must have; ``None`` takes any.

    Returns:
        The samples, shape (N,), N > 0.

    Raises:
        FeatnormError: the file is missing, no audio, empty, cut short, has several channels,
            another rate, or holds NaN or infinite samples.
    """
    samples, rate = read_any_audio(path)
    if samples.shape[1] != 1:
        raise FeatnormError(f"{path} has {samples.shape[1]} channels, one is wanted")
    if sample_rate is not None and rate != sample_rate:
        raise FeatnormError(
            f"{path} is sampled at {rate} Hz, {sample_rate} Hz is wanted: run stage 1, which"
            " resamples, or resample the file"
        )
    return np.ascontiguousarray(samples[:, 0])


def read_any_audio(path: str | os.PathLike[str]) -> tuple[FloatArray, int]:
    """Read a file, or an archive's entry, of any rate and number of channels.

    Returns:
        The samples, shape (N, channels) float32 with N > 0, and the rate in Hz.

    Raises:
        FeatnormError: the file is missing, no audio, empty, cut short, or holds NaN or
            infinite samples.
    """
    import soundfile

    place = split_archive(path)
    if place:
        samples, rate = read_archive(*place)
    else:
        frames = audio_info(path).frames
        try:
            samples, rate = soundfile.read(os.fspath(path), dtype="float32", always_2d=True)
        except (soundfile.LibsndfileError, RuntimeError) as error:
            raise FeatnormError(f"{path} cannot be read to its end: {error}") from error
        if len(samples) < frames:
            raise FeatnormError(
                f"{path} is cut short: its header promises {frames} samples, it has {len(samples)}"
            )
    if not len(samples):
        raise FeatnormError(f"{path} has no samples")
    if not np.isfinite(samples).all():
        raise FeatnormError(f"{path} holds NaN or infinite samples")
    return samples, int(rate)


def write_audio(
    path: str | os.PathLike[str],
    samples: FloatArray,
    sample_rate: int = 16000,
    subtype: str = "PCM_16",
) -> None:
    """Write a mono or multi-channel file, whole or not at all; the name's ending is the format.

    Args:
        path: the file, ``.wav``, ``.flac``, ...
        samples: shape (N,) or (N, channels), in [-1, 1]; what lies outside is clipped.
        sample_rate: in Hz.
        subtype: libsndfile's sample format.

    Raises:
        FeatnormError: the file cannot be written, as when the disk is full.
    """
    import soundfile

    try:
        with atomic_path(path) as temporary:
            soundfile.write(
                os.fspath(temporary), np.clip(samples, -1.0, 1.0), sample_rate, subtype=subtype
            )
    except (soundfile.LibsndfileError, RuntimeError, AssertionError) as error:
        # soundfile asserts, with no text, that all samples were written.
        raise FeatnormError(f"cannot write {path} (is the disk full?): {error}") from error
