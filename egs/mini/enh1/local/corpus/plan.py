"""Which clean piece is mixed with which noise, how loud, under which name."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from corpus.sources import Clip, by_speaker, cut_clips, split_by_folder
from featnorm_se.data.voicebank_demand import VALID_SPEAKERS
from featnorm_se.errors import FeatnormError

TEST_SPEAKERS = ("p232", "p257")
_TRAIN_NUMBERS = (
    (227, 228, 230, 231, 233, 236, 239, 243, 244, 250, 254, 256, 258)
    + (259, 267, 268, 269, 270, 273, 274, 276, 277, 278, 279, 282, 286)
)  # fmt: skip
TRAIN_SPEAKERS = tuple(f"p{number}" for number in _TRAIN_NUMBERS)
TRAIN_SNRS = (15.0, 10.0, 5.0, 0.0)
TEST_SNRS = (17.5, 12.5, 7.5, 2.5)

SHORTEST_SECONDS, LONGEST_SECONDS = 1.0, 10.0
PARTS = ("train", "valid", "test")

Files = dict[str, list[Path]]
Speakers = dict[str, dict[str, list[Path]]]


@dataclass(frozen=True)
class Pair:
    """One pair to make: its name, its pieces, and where in the noise (0 to 1) to begin.

    Of two talkers it has the ``other`` one, too, and the ``ratio`` of their levels in dB.
    """

    name: str
    part: str
    speech: Clip
    noise: Path
    noise_name: str
    snr: float
    place: float
    other: Clip | None = None
    ratio: float = 0.0


def named_parts(root: Path, paths: list[Path], test: bool) -> Files | None:
    """Return the files of the folders ``train``, ``valid`` and ``test``, if all have some.

    Without ``test`` the last of these is not asked for, nor taken.
    """
    parts = PARTS if test else PARTS[:2]
    named = {part: [p for p in paths if p.relative_to(root).parts[0] == part] for part in parts}
    return {"test": [], **named} if all(named.values()) else None


def split_speakers(root: Path, paths: list[Path], rng: np.random.Generator, test: bool) -> Speakers:
    """Share the speakers of a folder out to train, valid and test.

    Folders ``train``, ``valid`` and ``test`` are taken at their word, and so are ``train*`` and
    ``test*``; else a tenth of the speakers are for the test. Of the training speakers 2 in 28
    validate, as in the real corpus.

    Returns:
        Files by speaker, for each part.

    Raises:
        FeatnormError: there are too few speakers: 2 to train, 2 to validate, 1 to test; or of the
            folders one has no speaker of its own.
    """
    if named := named_parts(root, paths, test):
        people = {part: by_speaker(files, root) for part, files in named.items()}
        for part, others in (("valid", ["train"]), ("test", ["train", "valid"])):
            heard = set().union(*(people[other] for other in others))
            people[part] = {who: files for who, files in people[part].items() if who not in heard}
            if not people[part] and named[part]:
                raise FeatnormError(
                    f"{root / part} has no speaker of its own: all are heard in"
                    f" {' or '.join(others)} too; a speaker is told by a LibriSpeech name, a VCTK"
                    " name, or the folder"
                )
        return people
    folders = split_by_folder(root, paths)
    if folders:
        pool, tested = by_speaker(folders["train"], root), by_speaker(folders["test"], root)
        tested = {name: files for name, files in tested.items() if name not in pool}
    else:
        pool, tested = by_speaker(paths, root), {}
    names = [str(name) for name in rng.permutation(sorted(pool))]
    if test and not folders:
        share = max(1, round(len(names) / 10))
        tested = {name: pool[name] for name in names[:share]}
        names = names[share:]
    if len(names) < 4 or (test and not tested):
        raise FeatnormError(
            f"{root} has too few speakers ({len(pool)}): 2 are needed to train, 2 to validate and"
            " others to test; a speaker is told by a LibriSpeech name, a VCTK name, the folder, or"
            " without folders what stands before a name's first underscore"
        )
    valid = max(2, round(len(names) * 2 / 28))
    return {
        "train": {name: pool[name] for name in sorted(names[valid:])},
        "valid": {name: pool[name] for name in sorted(names[:valid])},
        "test": tested if test else {},
    }


def split_noises(root: Path, paths: list[Path], rng: np.random.Generator, test: bool) -> Files:
    """Share noise files out, by file: a fifth to test, a tenth to validate, the rest to train.

    Folders ``train``, ``valid`` and ``test`` right in ``root`` are taken at their word. With two
    files the validation noises are the training ones.

    Raises:
        FeatnormError: there is but one file and a test set is wanted.
    """
    if named := named_parts(root, paths, test):
        return named
    if len(paths) < 2 and test:
        raise FeatnormError(
            f"{root} holds one noise file: two are needed, since the test noises must be unseen"
        )
    order = [paths[index] for index in rng.permutation(len(paths))]
    tested = max(1, round(len(order) / 5)) if test else 0
    rest = order[tested:]
    valid = max(1, round(len(order) / 10)) if len(rest) > 1 else 0
    return {
        "train": sorted(rest[valid:]),
        "valid": sorted(rest[:valid] or rest),
        "test": sorted(order[:tested]),
    }


def name_clips(
    part: str, speakers: dict[str, list[Path]], names: Sequence[str]
) -> tuple[list[tuple[str, Clip]], int, dict[str, list[str]]]:
    """Cut all files and put every clip under one of the corpus's speaker names.

    More real speakers than names are pooled: a name then stands for several people, who stay in
    one part.

    Returns:
        The clips with their names, how many files were too short, and who is behind each name.
    """
    clips: list[tuple[str, Clip]] = []
    short = 0
    behind: dict[str, list[str]] = {name: [] for name in names[: len(speakers)]}
    for index, (speaker, paths) in enumerate(speakers.items()):
        name = names[index % len(names)]
        behind[name].append(speaker)
        for path in paths:
            cut = cut_clips(path, SHORTEST_SECONDS, LONGEST_SECONDS)
            short += not cut
            clips += [(name, clip) for clip in cut]
    return clips, short, behind


def plain_name(text: str) -> str:
    """Return a name that Kaldi's files can carry: ``-`` for what is blank or not printable."""
    return "".join(c if c.isprintable() else "-" for c in "-".join(text.split()))


def speaker_names(part: str, train_speakers: int) -> Sequence[str]:
    """Return the names that a part's speakers get."""
    if part == "train":
        return TRAIN_SPEAKERS[:train_speakers]
    return VALID_SPEAKERS if part == "valid" else TEST_SPEAKERS


def make_pairs(
    part: str,
    clips: list[tuple[str, Clip]],
    noises: list[Path],
    copies: int,
    rng: np.random.Generator,
) -> list[Pair]:
    """Give every clip its noises and SNRs, all combinations equally often.

    Args:
        part: ``train``, ``valid`` or ``test``.
        clips: speaker name and clip.
        noises: the noise files of this part.
        copies: how many pairs to make of each clip; they differ in noise or SNR as long as there
            are that many combinations.
        rng: orders the combinations and draws the places in the noise files.
    """
    snrs = TEST_SNRS if part == "test" else TRAIN_SNRS
    combinations = [(noise, snr) for noise in noises for snr in snrs]
    order = rng.permutation(len(combinations))
    step = max(1, len(combinations) // copies)
    width = max(3, math.ceil(math.log10(1 + len(clips) * copies)))
    counters: dict[str, int] = {}
    pairs = []
    for copy in range(copies):
        for index, (name, clip) in enumerate(clips):
            counters[name] = counters.get(name, 0) + 1
            noise, snr = combinations[order[(index + copy * step) % len(order)]]
            label = plain_name(noise.stem) or "noise"
            place = float(rng.random())
            pairs.append(
                Pair(f"{name}_{counters[name]:0{width}d}", part, clip, noise, label, snr, place)
            )
    return pairs


def add_talkers(
    pairs: list[Pair], clips: int, people: dict[str, str], rng: np.random.Generator
) -> list[Pair]:
    """Give every pair another talker of its part, at -5 to 5 dB, each as often as the others.

    Args:
        pairs: as ``make_pairs`` gives them, so many ``clips`` a copy.
        clips: how many.
        people: who speaks in a file.
        rng: orders the clips and draws the levels.

    Returns:
        The pairs, called as in Libri2Mix: ``<talker>-<number>_<talker>-<number>``.

    Raises:
        FeatnormError: but one speaks in all of them.
    """
    order = [int(place) for place in rng.permutation(clips)]
    mixed = []
    for number, place in enumerate(order * (len(pairs) // clips)):
        copy, turn = divmod(number, clips)
        pair = pairs[copy * clips + place]
        who = people[pair.speech.path]
        behind = [order[(turn + 1 + step) % clips] for step in range(clips - 1)]
        others = [pairs[copy * clips + one] for one in behind]
        others = [one for one in others if people[one.speech.path] != who]
        if not others:
            raise FeatnormError(
                f"only one talker is there to {pair.part}, two are needed: more"
                " speakers, or folders train, valid and test, in --speech_root"
            )
        other = others[copy % len(others)]
        name = "_".join(
            f"{re.sub(r'[-_/]', '.', people[one.speech.path])}-{one.name.split('_')[1]}"
            for one in (pair, other)
        )
        ratio = float(rng.uniform(-5.0, 5.0))
        mixed.append(replace(pair, name=name, other=other.speech, ratio=ratio))
    return mixed
