"""A corpus in the folders and names of VoiceBank-DEMAND, mixed from speech and noise."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from corpus.box import BOX, copy_test_pairs, share_valid, unpack
from corpus.plan import (
    PARTS,
    TRAIN_SPEAKERS,
    Pair,
    add_talkers,
    make_pairs,
    name_clips,
    plain_name,
    speaker_names,
    split_noises,
    split_speakers,
)
from corpus.render import render_pair, render_talkers
from corpus.sources import Clip, find_audio
from featnorm_se.data import voicebank_demand as names
from featnorm_se.data.libri2mix import FOLDERS
from featnorm_se.data.parallel import parallel_map
from featnorm_se.data.scp import write_scp
from featnorm_se.errors import FeatnormError
from featnorm_se.files import locked, replaced_folder, sha256_file, write_json, write_text

# Raise it when the same arguments come to give other bytes.
GENERATOR = 1
STAMP = "mini.json"


@dataclass(frozen=True)
class MiniOptions:
    """What a mini corpus is made from; ``None`` for a number means all there is.

    Attributes:
        speech_root: recordings of speech; ``None``: those in ``egs/mini/corpus``.
        noise_root: recordings of noise; ``None``: those there.
        train_speakers: training speakers besides p226 and p287, at most 26.
        train_utts: clean training utterances, before copies.
        valid_utts: of p226 and p287 together.
        test_utts: of p232 and p257 together; 0: no test set. With both roots given they are mixed,
            else they are pairs of VoiceBank-DEMAND that lie in ``egs/mini/corpus``.
        copies: noisy versions of each clean training utterance.
        seed: the source of all chance.
        num_spk: 2: two talkers at once, in Libri2Mix's folders and with a test set always.
    """

    speech_root: str | None = None
    noise_root: str | None = None
    train_speakers: int | None = None
    train_utts: int | None = None
    valid_utts: int | None = None
    test_utts: int | None = None
    copies: int = 1
    seed: int = 0
    num_spk: int = 1

    @property
    def roots(self) -> dict[str, str | None]:
        """The folders by what is in them."""
        return {"speech": self.speech_root, "noise": self.noise_root}

    @property
    def mixes_test(self) -> bool:
        """Whether test pairs are mixed."""
        return self.test_utts != 0 and (self.num_spk == 2 or all(self.roots.values()))

    def limit(self, part: str) -> int | None:
        """Return how many clean utterances a part may have; ``None`` for all there are."""
        return {"train": self.train_utts, "valid": self.valid_utts, "test": self.test_utts}[part]

    def check(self) -> None:
        """Raise FeatnormError when a number is out of its range."""
        most = len(TRAIN_SPEAKERS)
        if self.train_speakers is not None and not 2 <= self.train_speakers <= most:
            raise FeatnormError(f"--train_speakers {self.train_speakers}: 2 to {most} are possible")
        if self.num_spk not in (1, 2):
            raise FeatnormError(f"--num_spk {self.num_spk}: there are 1 and 2")
        if self.copies < 1:
            raise FeatnormError(f"--copies {self.copies}: at least 1 is needed")
        if self.seed < 0:
            raise FeatnormError(f"--seed {self.seed}: it must not be negative")
        for part, least in (("train", 2), ("valid", 2), ("test", 0)):
            limit = self.limit(part)
            if limit is not None and limit < least:
                raise FeatnormError(f"--{part}_utts {limit}: at least {least} are needed")


def make_mini(output: str, options: MiniOptions, nj: int = 1) -> dict[str, Any]:
    """Make the corpus, whole or not at all; one made with the same options is left as it is.

    The bytes depend on the options only, not on ``nj``. SNRs are active speech level (ITU-T
    P.56) over noise RMS, as in VoiceBank-DEMAND; where a mix would clip, the clean and the noisy
    file are scaled by one gain.

    Args:
        output: the folder that gets the four ``*_wav`` folders, the two logs, ``utt2spk`` (the
            recordings' own speakers) and ``mini.json``; of two talkers, Libri2Mix's folders with
            ``utt2cond`` in each.
        options: what to make it from.
        nj: processes.

    Returns:
        What ``mini.json`` holds: the options, a fingerprint of the sources, and the counts.

    Raises:
        FeatnormError: an option is out of range, ``output`` is a folder that this did not make, a
            source is missing or damaged, or speakers or noises are too few.
    """
    options.check()
    target = Path(output)
    sources = {root: _fingerprints(root) for root in options.roots.values() if root}
    if not all(options.roots.values()):
        sources[BOX.name] = (sha256_file(BOX),) * 2
    chosen = asdict(options)
    if options.num_spk == 1:
        del chosen["num_spk"]  # as in the stamps of corpora made before it was there
    about: dict[str, Any] = {"generator": GENERATOR, "options": chosen}
    stamp = about | {"sources": {name: both[0] for name, both in sources.items()}}
    # As corpora have it that were made before times counted.
    older = about | {"sources": {name: both[1] for name, both in sources.items()}}
    with locked(target):
        known = _read_stamp(target)
        if known and any(one.items() <= known.items() for one in (stamp, older)):
            print(f"make_mini: {target} is already made with these options", file=sys.stderr)
            return known
        with replaced_folder(target) as folder:
            with tempfile.TemporaryDirectory(dir=folder, prefix="raw") as raw:
                stamp["counts"] = _fill(folder, Path(raw), options, nj)
            # The same samples have the same time, so that a training on them goes on.
            for path in folder.rglob("*.wav"):
                made_of = int(sha256_file(path)[:15], 16)
                os.utime(path, ns=(made_of, made_of))
            write_json(folder / STAMP, stamp)
    return stamp


def _read_stamp(target: Path) -> dict[str, Any] | None:
    """Return the stamp of a corpus made before; refuse a folder that is not ours."""
    import json

    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return None
    try:
        stamp = json.loads((target / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FeatnormError(
            f"{target} is there already and was not made by make_mini (no {STAMP}): remove it or"
            " name another --output"
        ) from error
    return stamp if isinstance(stamp, dict) else None


def _fingerprints(root: str) -> tuple[str, str]:
    """Return hashes of the audio files below a folder: by names, sizes and times; without times."""
    with_times, without = hashlib.sha256(), hashlib.sha256()
    for path in find_audio(root):
        about = path.stat()
        line = f"{path.relative_to(root)}\0{about.st_size}"
        with_times.update(f"{line}\0{about.st_mtime_ns}\n".encode())
        without.update(f"{line}\n".encode())
    return with_times.hexdigest(), without.hexdigest()


def _fill(folder: Path, raw: Path, options: MiniOptions, nj: int) -> dict[str, Any]:
    """Plan and render all pairs into ``folder``; return the counts."""
    pairs, counts, speakers = _plan(raw, options)
    render = partial(render_pair if options.num_spk == 1 else render_talkers, folder=folder)
    kept = parallel_map(render, pairs, nj, "make_mini: mixing")
    logs = [
        (names.TRAIN_LOG, ("train", "valid"), "{:g}"),
        (names.TEST_LOG, ("test",), "{:e}"),
    ]
    if options.num_spk == 2:
        both = zip(FOLDERS, PARTS, strict=True)
        logs = [(f"{place}/utt2cond", (part,), "{:g}") for place, part in both]
    for log, parts, form in logs:
        lines = sorted(
            f"{pair.name} {pair.noise_name} {form.format(pair.snr)}\n"
            for pair, seconds in zip(pairs, kept, strict=True)
            if pair.part in parts and seconds
        )
        if lines:
            write_text(folder / log, "".join(lines))
    for part in PARTS:
        seconds = [s for p, s in zip(pairs, kept, strict=True) if p.part == part and s]
        counts[part] |= {"pairs": len(seconds), "minutes": round(sum(seconds) / 60, 2)}
    people = {
        pair.name: "+".join(speakers[clip.path] for clip in (pair.speech, pair.other) if clip)
        for pair in pairs
    }
    if not options.mixes_test and options.limit("test") != 0:
        taken = copy_test_pairs(raw / "test", folder, options.limit("test"))
        speaks = {name: name.partition("_")[0] for name, _, _ in taken}
        people |= speaks
        counts["test"] |= {
            "clean": len(taken),
            "noises": sorted({noise for _, noise, _ in taken}),
            "speakers": {who: [who] for who in sorted({*speaks.values()})},
            "pairs": len(taken),
            "minutes": round(sum(seconds for _, _, seconds in taken) / 60, 2),
        }
    write_scp(folder / "utt2spk", people)
    for part in PARTS:
        if not counts[part]["pairs"] and options.limit(part) != 0:
            raise FeatnormError(f"nothing but silence in the {part} recordings")
    counts["silent"] = sum(not seconds for seconds in kept)
    return counts


def _plan(raw: Path, options: MiniOptions) -> tuple[list[Pair], dict[str, Any], dict[str, str]]:
    """Find speech and noise, split them, and list the pairs, and who speaks in a file."""
    print("make_mini: gathering speech and noise", file=sys.stderr, flush=True)
    test = options.mixes_test
    train_speakers = options.train_speakers or len(TRAIN_SPEAKERS)
    rng = np.random.default_rng([options.seed, 0])
    if not all(options.roots.values()):
        unpack(raw)
        if options.num_spk == 2:
            share_valid(raw)
    roots = {kind: Path(root or raw / kind) for kind, root in options.roots.items()}
    noises = split_noises(roots["noise"], find_audio(roots["noise"]), rng, test)
    speakers = split_speakers(roots["speech"], find_audio(roots["speech"]), rng, test)
    pairs: list[Pair] = []
    counts: dict[str, Any] = {}
    people = {
        str(path): plain_name(name)
        for part in PARTS
        for name, paths in speakers[part].items()
        for path in paths
    }
    for part in PARTS:
        clips, short, behind = name_clips(part, speakers[part], speaker_names(part, train_speakers))
        clips = _choose(clips, options.limit(part), rng)
        counts[part] = {
            "clean": len(clips),
            "too_short": short,
            "noises": sorted(path.stem for path in noises[part]),
            "speakers": behind,
        }
        copies = options.copies if part == "train" else 1
        if clips and options.num_spk == 2:
            if part != "train":  # few talkers still make 30 mixtures
                copies = max(1, min(len(clips) - 1, 30 // len(clips)))
            made = make_pairs(part, clips, noises[part], copies, rng)
            pairs += add_talkers(made, len(clips), people, rng)
        else:
            pairs += make_pairs(part, clips, noises[part], copies, rng)
    return pairs, counts, people


def _choose(
    clips: list[tuple[str, Clip]], limit: int | None, rng: np.random.Generator
) -> list[tuple[str, Clip]]:
    """Keep ``limit`` clips in their order, drawn at random, evenly from the speakers."""
    if limit is None or limit >= len(clips):
        return clips
    turns: dict[str, int] = {}
    drawn = []
    for index in rng.permutation(len(clips)):
        speaker = clips[index][0]
        turns[speaker] = turns.get(speaker, 0) + 1
        drawn.append((turns[speaker], int(index)))
    # The speakers' first draws come before anybody's second.
    drawn.sort(key=lambda draw: draw[0])
    return [clips[index] for index in sorted(index for _, index in drawn[:limit])]
