"""Pairs of files of any corpus to Kaldi-style data directories: checked, resampled, listed."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from featnorm_se.data.audio import (
    FloatArray,
    check_lengths,
    describe_resampler,
    read_any_audio,
    read_audio,
    resample,
    resampled_length,
    to_mono,
    write_audio,
)
from featnorm_se.data.corpus import CorpusSet, find_kaldi
from featnorm_se.data.datadir import LISTS, Utterance, read_log, stamp_recordings, write_data_dir
from featnorm_se.data.doubts import alike, check_apart, check_sets, find_shift, tell_doubts
from featnorm_se.data.parallel import parallel_map
from featnorm_se.data.scp import split_archive
from featnorm_se.errors import FeatnormError, say
from featnorm_se.files import (
    is_done,
    locked,
    mark_done,
    read_json,
    read_record,
    sha256_file,
    short_hash,
    stamp,
    write_json,
)
from featnorm_se.names import SAMPLE_RATE

RECORD = "prepare.json"


def prepare_sets(
    sets: Mapping[str, CorpusSet], output: Path, wav_dir: Path, nj: int = 1, skip_bad: bool = False
) -> dict[str, Any]:
    """Check, resample and list the sets of any corpus.

    Files of 16 kHz and one channel are named where they are; all else (entries of archives, twins
    of other lengths) becomes wav in ``wav_dir``: int16, or float where int16 does not hold the
    samples of a file. A second call does what is left.

    Args:
        sets: what to prepare, by name. Whoever puts a command in a pair has been allowed to run it.
        output: gets a data directory a set, and the record ``prepare.json``. Of one set alone it
            is the data directory itself, beside those of ``train`` and ``valid``.
        wav_dir: gets a folder of converted files for each output.
        nj: processes.
        skip_bad: leave bad pairs out.

    Returns:
        The record: the request, each set's counts, SHA-256 of its lists and stamp of its files, and
        what was left out.

    Raises:
        FeatnormError: pairs are bad (see ``prepare_pair``; all are read, ten are named), a set has
            no good one, an utterance comes twice, or another run is at work there.
    """
    made = wav_dir.absolute() / f"{output.resolve().name}-{short_hash(output.resolve())[:8]}"
    alone = [*sets] == [output.name]
    lists = {name: _lists(output if alone else output / name, sets[name]) for name in sets}
    listed = [output / RECORD, *(path for paths in lists.values() for path in paths)]
    check_sets({name: corpus.pairs for name, corpus in sets.items()})
    _check_places(sets, listed, made.resolve())
    made_by = {"sample_rate": SAMPLE_RATE, **describe_resampler()}
    request: dict[str, Any] = {"resampled_to": str(made.parent), **made_by, "skip_bad": skip_bad}
    request["sources"] = {name: _fingerprint(corpus) for name, corpus in sets.items()}
    if alone:
        request["apart_from"] = stamp(output.parent / n / LISTS[0] for n in ("train", "valid"))
    with locked(output / "prepare", named=output):
        there = is_done(output, request | _converted(made)) and all(map(Path.exists, listed))
        if there and (record := _record_of(output, lists)):
            say(f"prepare: {output} is already prepared")
            return record
        good, bad = _try_pairs(sets, made, str(made_by), nj)
        _tell_bad(bad, good, skip_bad)
        check_apart((_trained_on(output.parent) if alone else {}) | good)
        tell_doubts(good)
        _warn_of_others(output, request["sources"])
        # All sets are good: only now what was there before is touched, and is done no more.
        mark_done(output, {})
        folders = {name: paths[0].parent for name, paths in lists.items()}
        for name, folder in folders.items():
            write_data_dir(folder, good[name])
        counts = {name: _counts(corpus.pairs, good[name]) for name, corpus in sets.items()}
        record = {**request, "counts": counts, "sha256": _hashes(lists), "left_out": bad}
        record["recordings"] = {name: stamp_recordings(place) for name, place in folders.items()}
        write_json(output / RECORD, record)
        mark_done(output, request | _converted(made))
    return record


def _try_pairs(
    sets: Mapping[str, CorpusSet], made: Path, made_by: str, nj: int
) -> tuple[dict[str, list[Utterance]], dict[str, dict[str, str]]]:
    """Return each set's good pairs, and what is wrong with the bad ones."""
    good: dict[str, list[Utterance]] = {}
    bad: dict[str, dict[str, str]] = {}
    for name, corpus in sets.items():
        known = read_log(corpus.log)
        # Of another corpus a file of this name stays: lists of before may name it.
        place = made / corpus.folder / short_hash(corpus.log.parent.resolve())[:8]
        work = partial(prepare_pair, wav_dir=place, made_by=made_by)
        tried = parallel_map(work, corpus.pairs, nj, f"prepare: {name}")
        found = [x for x, why in tried if not why]
        good[name] = [replace(x, condition=known.get(x.name, x.condition)) for x in found]
        bad[name] = {x.name: why for x, why in tried if why}
        if known and not known.keys() & {pair.name for pair in corpus.pairs}:
            say(f"warning: {corpus.log} names no utterance, such as {corpus.pairs[0].name}")
    return good, bad


def _warn_of_others(output: Path, sources: Mapping[str, str]) -> None:
    """Say that what was prepared of other recordings goes."""
    before = read_json(output / RECORD) if (output / RECORD).is_file() else {}
    if before.get("sources", sources) != sources:
        what = f"{output} held other recordings or conditions, which these replace"
        mend = "make anew what was trained or scored on them (another --datadir keeps both)"
        say(f"warning: {what}: {mend}")


def _converted(made: Path) -> dict[str, str]:
    """Return the stamp of all converted files: one that is lost or cut is made again."""
    return {"converted": stamp(sorted(made.rglob("*.wav")))}


def _record_of(output: Path, lists: Mapping[str, Sequence[Path]]) -> dict[str, Any]:
    """Return the record of lists; if they were changed since, warn and return nothing."""
    record = dict(read_json(output / RECORD))
    known, now = record.get("sha256", {}), _hashes(lists)  # older records know no utt2cond
    if known.keys() == now.keys() and all(known[n].items() <= now[n].items() for n in known):
        return record
    say(f"warning: lists in {output} were changed after stage 1, which writes them anew")
    return {}


def _hashes(lists: Mapping[str, Sequence[Path]]) -> dict[str, dict[str, str]]:
    every = {name: [*paths, paths[0].with_name("utt2cond")] for name, paths in lists.items()}
    return {n: {p.name: sha256_file(p) for p in paths if p.is_file()} for n, paths in every.items()}


def _lists(folder: Path, corpus: CorpusSet) -> list[Path]:
    second = ["spk2.scp"] if any(pair.clean2 for pair in corpus.pairs) else []
    return [folder / name for name in (*LISTS, *second)]


def _tell_bad(
    bad: Mapping[str, Mapping[str, str]], good: Mapping[str, Sequence[Utterance]], skip: bool
) -> None:
    """Name the first ten bad pairs; refuse them, unless they are to be left out and can be."""
    faults = [fault for part in bad.values() for fault in part.values()]
    empty = " and ".join(name for name, pairs in good.items() if not pairs)
    for fault in faults[:10]:
        say(f"prepare: {'left out' if skip and not empty else 'bad'}: {fault}")
    if faults and not (skip and not empty):
        mend = "mend or remove them, or leave them out with --skip_bad true"
        mend = f"not one of {empty} is good" if empty else mend
        fault = f"{len(faults)} pairs are bad, up to ten are named above: {mend}"
        raise FeatnormError(f"{faults[0]} ({fault})")


def prepare_pair(pair: Utterance, wav_dir: Path, made_by: str) -> tuple[Utterance, str]:
    """Check one pair's samples; write what other readers would read otherwise to ``wav_dir``.

    Returns:
        The pair as it is to be listed, and what is wrong with it: a file is missing, no audio,
        silent, of a lower rate, holds NaN or channels that differ, is too long beside its twin, or
        both talkers' are the same.

    Raises:
        FeatnormError: the system does not give a file (no permission, a disk that is away).
    """
    sides: dict[str, Any] = {"noisy": pair.noisy, "clean": pair.clean}
    sides |= {"clean2": pair.clean2} if pair.clean2 else {}
    try:
        loaded = {kind: _read_side(pair, kind) for kind in sides}
        lengths = [resampled_length(len(x), rate, SAMPLE_RATE) for x, rate in loaded.values()]
        frames = check_lengths(list(sides.values()), lengths)
        if pair.clean2 and alike(pair.clean, pair.clean2):
            raise FeatnormError(f"{pair.clean} and {pair.clean2}, of two talkers, are the same")
    except FeatnormError as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and not isinstance(cause, FileNotFoundError):
            raise  # of the system, not of the pair: it may pass
        return pair, f"{pair.name}: {error}"
    signals = []
    for (kind, path), length in zip(list(sides.items()), lengths, strict=True):
        samples, rate = loaded[kind]
        if length > frames or rate != SAMPLE_RATE or not _is_plain(path, frames):
            target = wav_dir / kind / f"{pair.name}.wav"
            is_known = os.path.isfile(path) or split_archive(path)
            source = stamp([path, f"{made_by} {pair.span} {frames}"]) if is_known else ""
            samples = _convert(samples, rate, frames, target, source)
            sides[kind] = str(target)
        signals.append(samples)
    shifts = tuple(find_shift(signals[0], clean) for clean in signals[1:])
    cut = max(lengths) - frames
    return replace(pair, **sides, seconds=frames / SAMPLE_RATE, cut=cut, shifts=shifts), ""


def _convert(samples: FloatArray, rate: int, frames: int, target: Path, source: str) -> FloatArray:
    """Write ``target`` at 16 kHz, so many samples of it, and return them.

    What an earlier call wrote of the same source is only read: the file's time, in nanoseconds,
    is set to a hash of the source. A source without a stamp is converted each time.
    """
    made_of = int(source[:13] or "0", 16)
    if made_of and target.is_file() and target.stat().st_mtime_ns == made_of:
        return read_audio(target)
    # What overshoots in resampling alone is clipped, as everybody's is.
    holds = np.abs(samples).max() <= 1 and not (samples * 32768 % 1).any()
    subtype = "PCM_16" if holds else "FLOAT"
    samples = resample(samples, rate, SAMPLE_RATE)[:frames]
    write_audio(target, samples, subtype=subtype)
    if made_of:
        os.utime(target, ns=(made_of, made_of))
    return samples


def _read_side(pair: Utterance, kind: str) -> tuple[FloatArray, int]:
    """Read and check one of twins."""
    path: str = getattr(pair, kind)
    if not path:
        raise FeatnormError(f"{pair.noisy or pair.clean} has no {kind} twin")
    samples, rate = read_any_audio(path, allow_pipes=True, span=pair.span)
    if rate < SAMPLE_RATE:
        fault = f"{path} is sampled at {rate} Hz: its band ends below the 8000 Hz that are wanted"
        raise FeatnormError(fault)
    if (samples == samples[:1]).all():
        raise FeatnormError(f"{path} is silent (all its samples are {samples[0, 0]:g})")
    return to_mono(samples, path), rate


def _is_plain(path: str, frames: int) -> bool:
    """Whether any reader, ESPnet's too, finds one channel of so many samples in it."""
    import soundfile

    try:
        header = soundfile.info(os.fsencode(path))
        return bool(header.frames == frames and header.channels == 1)
    except (soundfile.LibsndfileError, TypeError):
        return False


def _trained_on(folder: Path) -> dict[str, list[Utterance]]:
    """Return what is prepared in a folder to train and to validate with.

    What is converted from one recording is the same twice, so a set more can be compared with it.
    """
    there = [folder / n for n in ("train", "valid") if (folder / n / LISTS[0]).is_file()]
    return {name: corpus.pairs for name, corpus in find_kaldi(there).items()}


def _check_places(sets: Mapping[str, CorpusSet], listed: Sequence[Path], made: Path) -> None:
    """Refuse a source in ``made``, and lists that are there without a record, the first."""
    for path in (path for corpus in sets.values() for path in _files(corpus)):
        if made in Path(path).resolve().parents:
            raise FeatnormError(f"{path} lies where converted files go: name another --wav_dir")
    there = [path for path in listed if path.exists()]
    if there and there[0] != listed[0] and not read_record(listed[0].parent):
        fault = f"{there[0]} was not written by stage 1, which would replace it"
        raise FeatnormError(f"{fault}: move it away, or name another folder")


def _fingerprint(corpus: CorpusSet) -> str:
    """Hash all that is known of a set's pairs, and the sizes and times of its files."""
    # Experiments of 0.2.0 go on: there a pair ended with a channel.
    pairs = [f"{repr(pair)[:-1]}, channel=None)" for pair in corpus.pairs]
    return stamp([corpus.log, *_files(corpus), *pairs])


def _files(corpus: CorpusSet) -> list[str | Path]:
    values = [x for pair in corpus.pairs for x in (pair.noisy, pair.clean)]
    values += [pair.clean2 for pair in corpus.pairs if pair.clean2]
    return [place[0] if (place := split_archive(value)) else value for value in values]


def _counts(pairs: list[Utterance], utterances: list[Utterance]) -> dict[str, Any]:
    """Count what is printed and recorded of a set."""
    given = {pair.name: pair.noisy for pair in pairs}
    return {
        "pairs": len(utterances),
        "hours": round(sum(utt.seconds for utt in utterances) / 3600, 4),
        "speakers": sorted({who for utt in utterances for who in utt.speaker.split("+")}),
        "left_out": len(pairs) - len(utterances),
        "resampled_pairs": sum(utt.noisy != given[utt.name] for utt in utterances),
        "cut_pairs": sum(utt.cut > 0 for utt in utterances),
        "with_condition": sum(utt.condition is not None for utt in utterances),
    }
