"""Pairs of files of any corpus to Kaldi-style data directories: checked, resampled, listed."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from featnorm_se.data.audio import (
    AudioInfo,
    FloatArray,
    describe_resampler,
    read_any_audio,
    resample,
    write_audio,
)
from featnorm_se.data.corpus import CorpusSet, read_log
from featnorm_se.data.datadir import LISTS, Utterance, check_infos, write_data_dir
from featnorm_se.data.parallel import parallel_map
from featnorm_se.data.scp import is_command, read_scp, split_archive
from featnorm_se.errors import FeatnormError
from featnorm_se.files import is_done, locked, mark_done, read_json, sha256_file, write_json

RECORD = "prepare.json"


def prepare_sets(
    sets: Mapping[str, CorpusSet],
    output: Path,
    wav_dir: Path,
    sample_rate: int = 16000,
    nj: int = 1,
) -> dict[str, Any]:
    """Check, resample and list the sets of any corpus.

    Files that have ``sample_rate`` are named where they are; others, and entries of archives and
    commands, are written to ``wav_dir`` as int16 wav. Every file is read once and checked. A second
    call with nothing changed does nothing; a call after a break goes on with the files not yet
    resampled.

    Args:
        sets: what to prepare, by name. Whoever puts a command in a pair has been allowed to run it.
        output: gets a data directory a set, and the record ``prepare.json``.
        wav_dir: the folder of the converted files.
        sample_rate: of all files that the data directories name, in Hz.
        nj: processes.

    Returns:
        The record: the request, counts of each set, and the SHA-256 of its lists.

    Raises:
        FeatnormError: twins differ in length or rate, a file is missing, no audio, not mono,
            silent or holds NaN, an utterance is in two sets, or another run is at work there.
    """
    _check_overlap(sets)
    wav_dir = wav_dir.absolute()
    request = {
        "sample_rate": sample_rate,
        "resampled_to": str(wav_dir),
        **describe_resampler(),
        "sources": {name: _fingerprint(corpus) for name, corpus in sets.items()},
    }
    with locked(output), locked(wav_dir):
        if is_done(output, request) and all(map(Path.exists, _written(output, sets))):
            print(f"prepare: {output} is already prepared", file=sys.stderr)
            return dict(read_json(output / RECORD))
        conditions = {name: read_log(corpus.log) for name, corpus in sets.items()}
        _clear_stale(wav_dir, sets.values(), {"sample_rate": sample_rate, **describe_resampler()})
        ready = {}
        for name, corpus in sets.items():
            work = partial(prepare_pair, wav_dir=wav_dir / corpus.folder, sample_rate=sample_rate)
            utterances = parallel_map(work, corpus.pairs, nj, f"prepare: {name}")
            ready[name] = [replace(u, condition=conditions[name].get(u.name)) for u in utterances]
        # All sets are good: only now what was there before is touched.
        record: dict[str, Any] = {**request, "counts": {}, "sha256": {}}
        for name, utterances in ready.items():
            write_data_dir(output / name, utterances)
            record["counts"][name] = _counts(sets[name].pairs, utterances)
            record["sha256"][name] = {file: sha256_file(output / name / file) for file in LISTS}
        write_json(output / RECORD, record)
        mark_done(output, request)
    return record


def _written(output: Path, sets: Iterable[str]) -> Iterator[Path]:
    """Yield the record, the lists, and the files that they name."""
    yield output / RECORD
    for folder in (output / name for name in sets):
        yield from (folder / file for file in LISTS)
        for scp in ("wav.scp", "spk1.scp"):
            yield from map(Path, read_scp(folder / scp).values())


def _clear_stale(wav_dir: Path, sets: Iterable[CorpusSet], made_by: Mapping[str, object]) -> None:
    """Remove what another resampler, or one for another rate, left in ``wav_dir``."""
    if not is_done(wav_dir, made_by):
        for corpus in sets:
            shutil.rmtree(wav_dir / corpus.folder, ignore_errors=True)
        wav_dir.mkdir(parents=True, exist_ok=True)
        mark_done(wav_dir, made_by)


def prepare_pair(pair: Utterance, wav_dir: Path, sample_rate: int) -> Utterance:
    """Check one pair's samples; write those that have another rate, or are no file, to ``wav_dir``.

    Raises:
        FeatnormError: something is wrong with one of the files; the message names it.
    """
    sides = {"noisy": pair.noisy, "clean": pair.clean}
    try:
        loaded = {kind: read_any_audio(path, allow_pipes=True) for kind, path in sides.items()}
    except FeatnormError as error:
        raise FeatnormError(f"{pair.name}: {error}") from error
    infos = [
        (sides[kind], AudioInfo(len(samples), rate, samples.shape[1]))
        for kind, (samples, rate) in loaded.items()
    ]
    check_infos(pair.name, infos, None)
    frames, rate = len(loaded["noisy"][0]), loaded["noisy"][1]
    if rate < sample_rate:
        raise FeatnormError(
            f"{pair.noisy} is sampled at {rate} Hz: the band up to {sample_rate // 2} Hz that is"
            " wanted is not in it"
        )
    for kind, path in list(sides.items()):
        samples = loaded[kind][0]
        if not samples.any():
            raise FeatnormError(f"{path} is silent (all its samples are zero): remove the pair")
        plain = _is_plain(path, frames)
        if rate != sample_rate or not plain:
            target = wav_dir / kind / f"{pair.name}.wav"
            made_of = Path(path).stat().st_mtime_ns if plain else None
            _write_converted(target, samples[:, 0], rate, sample_rate, made_of)
            sides[kind] = str(target)
    return replace(pair, noisy=sides["noisy"], clean=sides["clean"], seconds=frames / rate)


def _is_plain(path: str, frames: int) -> bool:
    """Whether any reader, ESPnet's too, finds so many samples in it."""
    import soundfile

    try:
        return bool(soundfile.info(path).frames == frames)
    except (soundfile.LibsndfileError, TypeError):
        return False


def _write_converted(
    target: Path, samples: FloatArray, rate: int, sample_rate: int, made_of: int | None
) -> None:
    """Write a converted file, unless it is there already and made of this very source.

    The source's time on the copy, ``made_of``, tells a later call which source that was.
    """
    if made_of is not None and target.is_file() and target.stat().st_mtime_ns == made_of:
        return
    write_audio(target, resample(samples, rate, sample_rate), sample_rate)
    if made_of is not None:
        os.utime(target, ns=(made_of, made_of))


def _check_overlap(sets: Mapping[str, CorpusSet]) -> None:
    """Refuse an utterance that is in two sets; warn of a speaker that is tested and trained on."""
    seen: dict[str, str] = {}
    speakers: dict[str, set[str]] = {"train": set(), "valid": set(), "test": set()}
    for name, corpus in sets.items():
        for pair in corpus.pairs:
            if (other := seen.setdefault(pair.name, name)) != name:
                raise FeatnormError(f"the utterance {pair.name} is both in {other} and in {name}")
            speakers.setdefault(name, set()).add(pair.speaker)
    both = sorted((speakers["train"] | speakers["valid"]) & speakers["test"])
    if both:
        print(
            f"prepare: warning: trained and tested on the same speaker: {' '.join(both)}",
            file=sys.stderr,
        )


def _fingerprint(corpus: CorpusSet) -> str:
    """Hash the paths, sizes and times of a set's files and of its log."""
    digest = hashlib.sha256()
    values = [value for pair in corpus.pairs for value in (pair.noisy, pair.clean)]
    for value in [*values, str(corpus.log)]:
        place = split_archive(value)
        path = place[0] if place else Path(value)
        if is_command(value):
            digest.update(f"{value}\n".encode())
        elif path.exists():
            status = path.stat()
            digest.update(f"{value}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _counts(pairs: list[Utterance], utterances: list[Utterance]) -> dict[str, Any]:
    """Count what is printed and recorded of a set."""
    both = zip(utterances, pairs, strict=True)
    return {
        "pairs": len(utterances),
        "hours": round(sum(utt.seconds for utt in utterances) / 3600, 4),
        "speakers": sorted({utt.speaker for utt in utterances}),
        "resampled_pairs": sum(utterance.noisy != pair.noisy for utterance, pair in both),
        "with_condition": sum(utt.condition is not None for utt in utterances),
    }
