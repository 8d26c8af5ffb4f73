"""The speech of a pre-training: pieces of like length, held-out speakers, features in memory."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sources import Clip, by_speaker, cut_clips, find_audio, read_clip

from featnorm_se.errors import FeatnormError
from featnorm_se.names import SAMPLE_RATE
from featnorm_se.progress import progress

if TYPE_CHECKING:
    from torch import Tensor

    from featnorm_se.upstream.mel import LogMel

_SHORTEST_SECONDS = 0.2
_SHORTEST_PIECE_SECONDS = 1.0


@dataclass(frozen=True)
class Piece:
    """One speaker's speech, treated as one utterance: a part of a file, or short files in a row."""

    speaker: str
    clips: tuple[Clip, ...]

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return sum(clip.seconds for clip in self.clips)


def find_pieces(roots: Sequence[str | os.PathLike[str]], longest: float) -> list[Piece]:
    """List the speech below some folders in pieces of at most ``longest`` seconds.

    Longer files are cut; shorter files of one speaker are joined in the order of their names,
    since prompts of a second have too few frames to learn from. What stays below a second is
    left out.

    Args:
        roots: folders of audio files, any rate; see ``speaker_of`` for who speaks.
        longest: of a piece, in seconds.

    Raises:
        FeatnormError: a folder is missing, holds no audio, or a file is damaged.
    """
    pieces: list[Piece] = []
    for root in map(Path, roots):
        for speaker, paths in by_speaker(find_audio(root), root).items():
            row: list[Clip] = []
            for clip in (c for path in paths for c in cut_clips(path, _SHORTEST_SECONDS, longest)):
                if row and sum(c.seconds for c in row) + clip.seconds > longest:
                    pieces.append(Piece(speaker, tuple(row)))
                    row = []
                row.append(clip)
            if row:
                pieces.append(Piece(speaker, tuple(row)))
    found = [piece for piece in pieces if piece.seconds >= _SHORTEST_PIECE_SECONDS]
    if not found:
        raise FeatnormError(f"no speech of a second or more in {', '.join(map(str, roots))}")
    return found


def hold_out(
    pieces: Sequence[Piece], speakers: Sequence[str], share: float, seed: int
) -> tuple[list[Piece], list[Piece]]:
    """Part the pieces into those to train on and those of speakers held out.

    Args:
        pieces: all of them.
        speakers: who is held out; none named: speakers are drawn until they have ``share`` of
            all seconds, nobody who has more than that alone.
        share: between 0 and 1.
        seed: draws the speakers.

    Raises:
        FeatnormError: a named speaker is not there, or nothing is left on one side.
    """
    seconds: dict[str, float] = {}
    for piece in pieces:
        seconds[piece.speaker] = seconds.get(piece.speaker, 0.0) + piece.seconds
    missing = [speaker for speaker in speakers if speaker not in seconds]
    if missing:
        raise FeatnormError(
            f"the speaker {missing[0]} to hold out is not there; there are"
            f" {' '.join(sorted(seconds)[:20])}{' ...' if len(seconds) > 20 else ''}"
        )
    held = set(speakers)
    if not held:
        wanted = share * sum(seconds.values())
        for name in np.random.default_rng([seed, 0]).permutation(sorted(seconds)):
            if sum(seconds[n] for n in held) >= wanted:
                break
            if seconds[str(name)] <= wanted or len(seconds) < 10:
                held.add(str(name))
    train = [piece for piece in pieces if piece.speaker not in held]
    valid = [piece for piece in pieces if piece.speaker in held]
    if not train or not valid:
        raise FeatnormError(
            f"{len(seconds)} speakers leave none to train on or none to hold out: give more"
            " speech, or name those to hold out"
        )
    return train, valid


def summary(pieces: Sequence[Piece]) -> dict[str, Any]:
    """Return how much speech this is, and a hash of it that is the same wherever it lies."""
    digest = hashlib.sha256()
    for piece in pieces:
        for clip in piece.clips:
            name = Path(clip.path).name
            digest.update(f"{piece.speaker}\0{name}\0{clip.start}\0{clip.frames}\n".encode())
    return {
        "minutes": round(sum(piece.seconds for piece in pieces) / 60, 2),
        "pieces": len(pieces),
        "speakers": len({piece.speaker for piece in pieces}),
        "fingerprint": digest.hexdigest()[:16],
    }


def take_features(pieces: Sequence[Piece], mel: LogMel) -> list[Tensor]:
    """Return the log-mels (T, D) of every piece.

    Raises:
        FeatnormError: a file cannot be read; the message names it.
    """
    import torch

    features = []
    with torch.no_grad():  # tensors of inference_mode could not take part in training
        for piece in progress(pieces, "features", unit="piece"):
            samples = np.concatenate([read_clip(clip, SAMPLE_RATE) for clip in piece.clips])
            features.append(mel(torch.from_numpy(samples)[None], [len(samples)])[0])
    return features
