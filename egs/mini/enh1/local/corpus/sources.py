"""Recordings found in a folder tree: who speaks where, in pieces of at most ten seconds."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from featnorm_se.data.audio import FloatArray, audio_info, read_any_audio, resample
from featnorm_se.data.decoding import AUDIO_SUFFIXES, walk_audio
from featnorm_se.errors import FeatnormError, say

_LIBRISPEECH = re.compile(r"(\d+)-\d+-\d+")
_VCTK = re.compile(r"([A-Za-z]+\d+)_\w+")


@dataclass(frozen=True)
class Clip:
    """A stretch of a file: its place and length in the file's own samples."""

    path: str
    start: int
    frames: int
    sample_rate: int

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.frames / self.sample_rate


def find_audio(root: str | os.PathLike[str]) -> list[Path]:
    """Return all audio files below ``root``, by name ending, sorted; hidden ones are left out.

    Raises:
        FeatnormError: ``root`` is no folder or holds no audio file.
    """
    folder = Path(root)
    if not folder.is_dir():
        raise FeatnormError(f"no such folder: {root}")
    found = walk_audio(folder)
    if not found:
        raise FeatnormError(
            f"{root} holds no audio file ({' '.join(AUDIO_SUFFIXES)}): give another folder"
        )
    for path in found:
        if any("\ud800" <= letter <= "\udfff" for letter in str(path)):
            raise FeatnormError(f"the name {str(path)!r} is not UTF-8: rename the file or folder")
    return sorted(found)


def speaker_of(path: Path, root: Path) -> str:
    """Tell the speaker from a file's place and name.

    LibriSpeech's ``103-1240-0003`` says 103 and VCTK's ``p226_001`` says p226, wherever they lie;
    else it is the folder the file is in, and for a file right in ``root`` what stands before its
    name's first underscore.
    """
    for pattern in (_LIBRISPEECH, _VCTK):
        match = pattern.fullmatch(path.stem)
        if match:
            return match[1]
    return path.stem.split("_")[0] if path.parent == root else str(path.parent.relative_to(root))


def by_speaker(paths: Iterable[Path], root: Path) -> dict[str, list[Path]]:
    """Group files by speaker, both sorted."""
    groups: dict[str, list[Path]] = {}
    for path in paths:
        groups.setdefault(speaker_of(path, root), []).append(path)
    files = sum(map(len, groups.values()))
    if len(groups) == files > 4:
        told = f"{root}: each of {files} files counts as a speaker of its own"
        say(f"warning: {told}: if that is not so, give each speaker a folder")
    return {speaker: sorted(groups[speaker]) for speaker in sorted(groups)}


def split_by_folder(root: Path, paths: list[Path]) -> dict[str, list[Path]] | None:
    """Sort files by whether their first folder's name has ``train`` or ``test`` in it.

    Returns:
        ``{"train": ..., "test": ..., "other": ...}``, or ``None`` when not both of the first
        two are there: then the speakers have to be split.
    """
    parts: Mapping[str, list[Path]] = {"train": [], "test": [], "other": []}
    for path in paths:
        inner = path.relative_to(root).parts
        first = inner[0].lower() if len(inner) > 1 else ""
        kind = "train" if "train" in first else "test" if "test" in first else "other"
        parts[kind].append(path)
    return dict(parts) if parts["train"] and parts["test"] else None


def cut_clips(path: Path, shortest: float, longest: float) -> list[Clip]:
    """Cut a file into equal pieces of at most ``longest`` seconds that use all of it.

    Returns:
        The pieces in order; none when the file is shorter than ``shortest`` seconds.

    Raises:
        FeatnormError: the file is no audio that libsndfile reads.
    """
    header = audio_info(path)
    rate = header.sample_rate
    if header.frames < shortest * rate:
        return []
    count = int(np.ceil(header.frames / (longest * rate)))
    edges = np.linspace(0, header.frames, count + 1).astype(int)
    return [
        Clip(str(path), int(start), int(end - start), rate)
        for start, end in zip(edges[:-1], edges[1:], strict=True)
    ]


def read_clip(clip: Clip, sample_rate: int) -> FloatArray:
    """Read a clip as one channel (the loudest) at ``sample_rate`` Hz, shape (N,) float32.

    Raises:
        FeatnormError: the file is missing, no audio or cut short, or holds NaN samples.
    """
    span = clip.start / clip.sample_rate, (clip.start + clip.frames) / clip.sample_rate
    samples, rate = read_any_audio(clip.path, span=span)
    loudest = int(np.argmax(np.sum(np.square(samples, dtype=np.float64), axis=0)))
    return resample(np.ascontiguousarray(samples[:, loudest]), rate, sample_rate)
