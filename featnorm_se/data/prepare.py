"""VoiceBank-DEMAND, or a corpus in its folders, to Kaldi-style data directories."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from featnorm_se.data import names
from featnorm_se.data.audio import FloatArray, audio_info, read_audio, write_audio
from featnorm_se.data.corpus import FilePair, find_pairs, read_log, split_valid
from featnorm_se.data.datadir import (
    Utterance,
    check_headers,
    validate_data_dir,
    write_data_dir,
)
from featnorm_se.data.folder import one_writer
from featnorm_se.data.parallel import parallel_map
from featnorm_se.data.resample import describe_resampler, resample, resampled_length
from featnorm_se.errors import FeatnormError
from featnorm_se.files import sha256_file, write_json

RECORD = "prepare.json"
SETS = ("train", "valid", "test")
_LISTS = ("wav.scp", "spk1.scp", "utt2spk", "spk2utt")


@dataclass(frozen=True)
class CorpusSet:
    """One set of a corpus: its pairs, its condition log, and a name for resampled files."""

    pairs: list[FilePair]
    log: Path
    folder: str


def prepare_voicebank_demand(
    db_root: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    test_root: str | os.PathLike[str] | None = None,
    valid_speakers: Sequence[str] = names.VALID_SPEAKERS,
    wav_dir: str | os.PathLike[str] | None = None,
    sample_rate: int = 16000,
    nj: int = 1,
) -> dict[str, Any]:
    """Write ``output/{train,valid,test}`` for a folder in VoiceBank-DEMAND's layout.

    Args:
        db_root: holds ``{noisy,clean}_trainset_28spk_wav``, ``{noisy,clean}_testset_wav`` (wav or
            flac, any rates) and, perhaps, the two logs.
        output: the folder of the data directories.
        test_root: a folder with ``noisy`` and ``clean`` to test on in place of the corpus's own.
        valid_speakers: training speakers to validate with.
        wav_dir: where resampled files go; ``None``: ``dump/wav16k`` beside ``output``.
        sample_rate: of all files that the data directories name, in Hz.
        nj: processes.

    Returns:
        The record that is written to ``output/prepare.json``.

    Raises:
        FeatnormError: a folder or twin is missing, twins differ in length or rate, a file is no
            audio, not mono, silent or holds NaN, a name cannot be carried, or a validation
            speaker is not there.
    """
    root = Path(db_root)
    if not root.is_dir():
        raise FeatnormError(f"no such folder: {root}: give the corpus's folder with --db_root")
    train_pairs = find_pairs(*(root / folder for folder in names.TRAIN_FOLDERS))
    train, valid = split_valid(train_pairs, valid_speakers)
    log, folder = root / names.TRAIN_LOG, "trainset"
    sets = {"train": CorpusSet(train, log, folder), "valid": CorpusSet(valid, log, folder)}
    if test_root:
        test = Path(test_root)
        pairs = find_pairs(test / "noisy", test / "clean")
        sets["test"] = CorpusSet(pairs, test / names.TEST_LOG, "testset")
    else:
        pairs = find_pairs(*(root / folder for folder in names.TEST_FOLDERS))
        sets["test"] = CorpusSet(pairs, root / names.TEST_LOG, "testset")
    target = Path(output)
    waves = Path(wav_dir) if wav_dir else target.absolute().parent / "dump" / _wav_name(sample_rate)
    return prepare_sets(sets, target, waves.absolute(), sample_rate, nj)


def _wav_name(sample_rate: int) -> str:
    """Name the folder of resampled files: wav16k."""
    return f"wav{sample_rate // 1000}k" if sample_rate % 1000 == 0 else f"wav{sample_rate}"


def prepare_sets(
    sets: dict[str, CorpusSet], output: Path, wav_dir: Path, sample_rate: int, nj: int
) -> dict[str, Any]:
    """Check, resample and list the sets of any corpus: what every ``prepare_x`` ends with.

    Files that have ``sample_rate`` are named where they are; others are resampled to int16 wav in
    ``wav_dir``. Every file is read once and checked. A second call with nothing changed does
    nothing; a call after a break goes on with the files not yet resampled.

    Raises:
        FeatnormError: as ``prepare_voicebank_demand``.
    """
    _check_overlap(sets)
    request = {
        "sample_rate": sample_rate,
        "resampled_to": str(wav_dir),
        **describe_resampler(),
        "sources": {name: _fingerprint(corpus) for name, corpus in sets.items()},
    }
    with one_writer(output), one_writer(wav_dir):
        known = _done(output, request)
        if known:
            print(f"prepare: {output} is already prepared", file=sys.stderr)
            return known
        (output / RECORD).unlink(missing_ok=True)
        _clear_stale(wav_dir, [corpus.folder for corpus in sets.values()], sample_rate)
        record: dict[str, Any] = {**request, "counts": {}, "sha256": {}}
        for name, corpus in sets.items():
            work = partial(prepare_pair, wav_dir=wav_dir / corpus.folder, sample_rate=sample_rate)
            utterances = parallel_map(work, corpus.pairs, nj, f"prepare: {name}")
            conditions = read_log(corpus.log)
            listed = [_with_condition(utt, conditions) for utt in utterances]
            write_data_dir(output / name, listed)
            record["counts"][name] = _counts(corpus, listed)
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
    """Check one pair's headers and samples; resample both files when their rate is another.

    Raises:
        FeatnormError: something is wrong with one of the files; the message names it.
    """
    check_headers(pair.name, str(pair.noisy), str(pair.clean), None)
    header = audio_info(pair.noisy)
    if header.sample_rate < sample_rate:
        raise FeatnormError(
            f"{pair.noisy} is sampled at {header.sample_rate} Hz: the band up to"
            f" {sample_rate // 2} Hz that is wanted is not in it"
        )
    paths = []
    for path, kind in ((pair.noisy, "noisy"), (pair.clean, "clean")):
        samples = read_audio(path, None)
        if not np.any(samples):
            raise FeatnormError(f"{path} is silent (all its samples are zero): remove the pair")
        if header.sample_rate != sample_rate:
            target = wav_dir / kind / f"{pair.name}.wav"
            _resample_file(path, samples, header.sample_rate, target, sample_rate)
            path = target
        paths.append(str(path))
    seconds = header.frames / header.sample_rate
    return Utterance(pair.name, paths[0], paths[1], pair.speaker, seconds)


def _resample_file(
    source: Path, samples: FloatArray, rate: int, target: Path, sample_rate: int
) -> None:
    """Write the resampled file, unless it is there already and made of this very source."""
    stamp = source.stat().st_mtime_ns
    frames = resampled_length(len(samples), rate, sample_rate)
    if target.is_file() and target.stat().st_mtime_ns == stamp:
        header = audio_info(target)
        if (header.frames, header.sample_rate) == (frames, sample_rate):
            return
    write_audio(target, resample(samples, rate, sample_rate), sample_rate)
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
    paths = [path for pair in corpus.pairs for path in (pair.noisy, pair.clean)]
    for path in [*paths, corpus.log]:
        if path.exists():
            status = path.stat()
            digest.update(f"{path}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
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
