"""Pairs of files of any corpus to Kaldi-style data directories: checked, resampled, listed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from featnorm_se.data.audio import (
    AudioInfo,
    FloatArray,
    audio_info,
    read_any_audio,
    write_audio,
)
from featnorm_se.data.corpus import CorpusSet, FilePair, read_log
from featnorm_se.data.datadir import Utterance, check_infos, validate_data_dir, write_data_dir
from featnorm_se.data.entry import is_command, run_command, split_archive
from featnorm_se.data.parallel import parallel_map
from featnorm_se.data.resample import describe_resampler, resample, resampled_length
from featnorm_se.errors import FeatnormError
from featnorm_se.files import locked, sha256_file, write_json

RECORD = "prepare.json"
SETS = ("train", "valid", "test")
_LISTS = ("wav.scp", "spk1.scp", "utt2spk", "spk2utt")


def default_wav_dir(output: Path, sample_rate: int) -> Path:
    """Return where resampled files go when nothing else is said: ``dump/wav16k`` beside it."""
    rate = f"{sample_rate // 1000}k" if sample_rate % 1000 == 0 else f"{sample_rate}"
    return output.absolute().parent / "dump" / f"wav{rate}"


def prepare_sets(
    sets: dict[str, CorpusSet], output: Path, wav_dir: Path, sample_rate: int, nj: int
) -> dict[str, Any]:
    """Check, resample and list the sets of any corpus: what every ``prepare_x`` ends with.

    Files that have ``sample_rate`` are named where they are; others, and entries of archives and
    commands, are written to ``wav_dir`` as int16 wav. Every file is read once and checked. A second
    call with nothing changed does nothing; a call after a break goes on with the files not yet
    resampled.

    Raises:
        FeatnormError: twins differ in length or rate, a file is missing, no audio, not mono,
            silent or holds NaN, an utterance is in two sets, or another run is at work there.
    """
    _check_overlap(sets)
    request = {
        "sample_rate": sample_rate,
        "resampled_to": str(wav_dir),
        **describe_resampler(),
        "sources": {name: _fingerprint(corpus) for name, corpus in sets.items()},
    }
    with locked(output), locked(wav_dir):
        known = _done(output, request)
        if known:
            print(f"prepare: {output} is already prepared", file=sys.stderr)
            return known
        conditions = {name: read_log(corpus.log) for name, corpus in sets.items()}
        _clear_stale(wav_dir, [corpus.folder for corpus in sets.values()], sample_rate)
        ready = {}
        for name, corpus in sets.items():
            work = partial(prepare_pair, wav_dir=wav_dir / corpus.folder, sample_rate=sample_rate)
            utterances = parallel_map(work, corpus.pairs, nj, f"prepare: {name}")
            ready[name] = [_with_condition(utt, conditions[name]) for utt in utterances]
        # All sets are good: only now what was there before is touched.
        (output / RECORD).unlink(missing_ok=True)
        record: dict[str, Any] = {**request, "counts": {}, "sha256": {}}
        for name, listed in ready.items():
            write_data_dir(output / name, listed)
            record["counts"][name] = _counts(sets[name], listed)
            record["sha256"][name] = _hashes(output / name)
        write_json(output / RECORD, record)
    return record


def _clear_stale(wav_dir: Path, folders: list[str], sample_rate: int) -> None:
    """Remove what another resampler, or one for another rate, left in ``wav_dir``."""
    stamp = wav_dir / "resampler.json"
    made_by = {"sample_rate": sample_rate, **describe_resampler()}
    try:
        if json.loads(stamp.read_text(encoding="utf-8")) == made_by:
            return
    except (OSError, ValueError):
        pass
    for folder in folders:
        shutil.rmtree(wav_dir / folder, ignore_errors=True)
    write_json(stamp, made_by)


def prepare_pair(pair: FilePair, wav_dir: Path, sample_rate: int) -> Utterance:
    """Check one pair's samples; write those that have another rate, or are no file, to ``wav_dir``.

    Raises:
        FeatnormError: something is wrong with one of the files; the message names it.
    """
    sides = {"noisy": pair.noisy, "clean": pair.clean}
    loaded = {kind: _load(pair.name, value) for kind, value in sides.items()}
    infos = [
        (str(sides[kind]), AudioInfo(len(samples), rate, samples.shape[1]))
        for kind, (samples, rate) in loaded.items()
    ]
    check_infos(pair.name, infos, None)
    if infos[0][1].sample_rate < sample_rate:
        raise FeatnormError(
            f"{pair.noisy} is sampled at {infos[0][1].sample_rate} Hz: the band up to"
            f" {sample_rate // 2} Hz that is wanted is not in it"
        )
    paths = {}
    for kind, (samples, rate) in loaded.items():
        if not np.any(samples):
            raise FeatnormError(
                f"{sides[kind]} is silent (all its samples are zero): remove the pair"
            )
        paths[kind] = str(sides[kind])
        if rate != sample_rate or _plain(sides[kind]) is None:
            target = wav_dir / kind / f"{pair.name}.wav"
            _write_converted(sides[kind], samples[:, 0], rate, target, sample_rate)
            paths[kind] = str(target)
    seconds = infos[0][1].frames / infos[0][1].sample_rate
    return Utterance(pair.name, paths["noisy"], paths["clean"], pair.speaker, seconds)


def _plain(value: Path | str) -> Path | None:
    """Return the path of what is a file of its own; nothing for an archive's or a command's."""
    return None if is_command(value) or split_archive(value) else Path(value)


def _load(name: str, value: Path | str) -> tuple[FloatArray, int]:
    """Read a side of a pair; whoever puts a command in a pair has been allowed to run it."""
    try:
        return run_command(str(value)) if is_command(value) else read_any_audio(value)
    except FeatnormError as error:
        raise FeatnormError(f"{name}: {error}") from error


def _write_converted(
    source: Path | str, samples: FloatArray, rate: int, target: Path, sample_rate: int
) -> None:
    """Write the converted file, unless it is there already and made of this very file."""
    path = _plain(source)
    stamp = path.stat().st_mtime_ns if path else None
    frames = resampled_length(len(samples), rate, sample_rate)
    if stamp is not None and target.is_file() and target.stat().st_mtime_ns == stamp:
        header = audio_info(target)
        if (header.frames, header.sample_rate) == (frames, sample_rate):
            return
    try:
        write_audio(target, resample(samples, rate, sample_rate), sample_rate)
    except FeatnormError as error:
        raise FeatnormError(f"{source}: {error}") from error
    if stamp is not None:
        # The source's time on the copy tells a later call which source it was made of.
        os.utime(target, ns=(stamp, stamp))


def _with_condition(utt: Utterance, conditions: dict[str, tuple[str, float]]) -> Utterance:
    """Add what the log says of an utterance."""
    return Utterance(
        utt.name, utt.noisy, utt.clean, utt.speaker, utt.seconds, conditions.get(utt.name)
    )


def _check_overlap(sets: dict[str, CorpusSet]) -> None:
    """Refuse an utterance that is in two sets; warn of a speaker that is tested and trained on."""
    seen: dict[str, str] = {}
    for name, corpus in sets.items():
        for pair in corpus.pairs:
            if pair.name in seen:
                raise FeatnormError(
                    f"the utterance {pair.name} is both in {seen[pair.name]} and in {name}"
                )
            seen[pair.name] = name
    speakers = {name: {pair.speaker for pair in corpus.pairs} for name, corpus in sets.items()}
    known = speakers.get("train", set()) | speakers.get("valid", set())
    both = sorted(known & speakers.get("test", set()))
    if both:
        print(
            f"prepare: warning: trained and tested on the same speaker: {' '.join(both)}",
            file=sys.stderr,
        )


def _fingerprint(corpus: CorpusSet) -> str:
    """Hash the paths, sizes and times of a set's files and of its log."""
    digest = hashlib.sha256()
    values = [value for pair in corpus.pairs for value in (pair.noisy, pair.clean)]
    for value in [*values, corpus.log]:
        place = None if is_command(value) else split_archive(value)
        path = place[0] if place else Path(value)
        if is_command(value):
            digest.update(f"{value}\n".encode())
        elif path.exists():
            status = path.stat()
            digest.update(f"{value}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _hashes(folder: Path) -> dict[str, str]:
    """Hash the lists of a data directory."""
    return {name: sha256_file(folder / name) for name in _LISTS}


def _done(output: Path, request: dict[str, Any]) -> dict[str, Any] | None:
    """Return the record of an earlier, equal call whose files are all still as they were."""
    try:
        record: dict[str, Any] = json.loads((output / RECORD).read_text(encoding="utf-8"))
        if any(record[key] != value for key, value in request.items()):
            return None
        for name, hashes in record["sha256"].items():
            if _hashes(output / name) != hashes:
                return None
            validate_data_dir(output / name, request["sample_rate"])
    except (OSError, ValueError, KeyError, TypeError, FeatnormError):
        return None
    return record


def _counts(corpus: CorpusSet, utterances: list[Utterance]) -> dict[str, Any]:
    """Count what is told and recorded of a set."""
    moved = sum(
        utt.noisy != str(pair.noisy) for utt, pair in zip(utterances, corpus.pairs, strict=True)
    )
    return {
        "pairs": len(utterances),
        "hours": round(sum(utt.seconds for utt in utterances) / 3600, 4),
        "speakers": sorted({utt.speaker for utt in utterances}),
        "resampled_pairs": moved,
        "with_condition": sum(utt.condition is not None for utt in utterances),
    }
