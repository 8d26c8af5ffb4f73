"""Kaldi-style data directories: written sorted, and checked before anything is built on them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from featnorm_se.data.audio import AudioInfo, audio_info
from featnorm_se.data.scp import read_scp, write_scp
from featnorm_se.errors import FeatnormError
from featnorm_se.files import write_text


@dataclass(frozen=True)
class Utterance:
    """One pair as stage 1 leaves it: paths of both files, speaker, length, and condition."""

    name: str
    noisy: str
    clean: str
    speaker: str
    seconds: float = 0.0
    condition: tuple[str, float] | None = None


@dataclass(frozen=True)
class DataDir:
    """What a data directory lists, by utterance: noisy file, clean file and speaker.

    ``clean`` is empty when the directory has no ``spk1.scp``.
    """

    path: Path
    noisy: dict[str, str]
    clean: dict[str, str] = field(default_factory=dict)
    speakers: dict[str, str] = field(default_factory=dict)


def write_data_dir(path: str | os.PathLike[str], utterances: list[Utterance]) -> None:
    """Write wav.scp (noisy), spk1.scp (clean), utt2spk, spk2utt and, when known, utt2cond.

    ``utt2cond`` is tab-separated: utterance, noise, SNR in dB.

    Args:
        path: the folder; made when missing.
        utterances: in any order; the files are sorted by name.

    Raises:
        FeatnormError: the folder cannot be written, or a name cannot stand in Kaldi's files.
    """
    folder = Path(path)
    write_scp(folder / "wav.scp", {utt.name: utt.noisy for utt in utterances})
    write_scp(folder / "spk1.scp", {utt.name: utt.clean for utt in utterances})
    write_scp(folder / "utt2spk", {utt.name: utt.speaker for utt in utterances})
    write_scp(folder / "spk2utt", _spk2utt({utt.name: utt.speaker for utt in utterances}))
    lines = [
        f"{utt.name}\t{utt.condition[0]}\t{utt.condition[1]:g}\n"
        for utt in utterances
        if utt.condition
    ]
    if lines:
        write_text(folder / "utt2cond", "".join(sorted(lines)))
    else:
        (folder / "utt2cond").unlink(missing_ok=True)


def _spk2utt(utt2spk: Mapping[str, str]) -> dict[str, str]:
    """Turn utt2spk round: the sorted utterances of each speaker, by a space."""
    by_speaker: dict[str, list[str]] = {}
    for name in sorted(utt2spk):
        by_speaker.setdefault(utt2spk[name], []).append(name)
    return {speaker: " ".join(names) for speaker, names in by_speaker.items()}


def validate_data_dir(
    path: str | os.PathLike[str], sample_rate: int | None = None, need_clean: bool = True
) -> DataDir:
    """Check a data directory from its lists and the files' headers, and return what it lists.

    Args:
        path: the folder with wav.scp and, when ``need_clean``, spk1.scp.
        sample_rate: the rate in Hz that all files must have; ``None`` takes any.
        need_clean: whether a missing spk1.scp is an error.

    Raises:
        FeatnormError: a list is missing, unsorted or has other keys than the next; a file is
            missing, no audio, not mono or of another rate; the lengths of twins differ.
    """
    folder = Path(path)
    if not (folder / "wav.scp").is_file():
        raise FeatnormError(f"{folder} has no wav.scp: run stage 1, which writes it")
    lists = {"wav.scp": read_scp(folder / "wav.scp")}
    if need_clean or (folder / "spk1.scp").exists():
        lists["spk1.scp"] = read_scp(folder / "spk1.scp")
    if (folder / "utt2spk").exists():
        lists["utt2spk"] = read_scp(folder / "utt2spk")
    for name, entries in lists.items():
        _check_keys(folder, name, list(entries), list(lists["wav.scp"]))
    clean = lists.get("spk1.scp", {})
    for utt, noisy in lists["wav.scp"].items():
        check_headers(utt, noisy, clean.get(utt), sample_rate)
    return DataDir(folder, lists["wav.scp"], clean, lists.get("utt2spk", {}))


def _check_keys(folder: Path, name: str, keys: list[str], wanted: list[str]) -> None:
    """Raise when a list is not sorted or differs from wav.scp in its utterances."""
    if keys != sorted(keys, key=lambda key: key.encode()):
        raise FeatnormError(f"{folder / name} is not sorted: run stage 1 again")
    odd = sorted(set(keys) ^ set(wanted))
    if odd:
        where = name if odd[0] in keys else "wav.scp"
        raise FeatnormError(
            f"{folder}: the utterance {odd[0]} is in {where} only, not in both wav.scp and"
            f" {name} ({len(odd)} such): run stage 1 again"
        )


def check_headers(name: str, noisy: str, clean: str | None, sample_rate: int | None) -> None:
    """Check one utterance's files by their headers.

    Raises:
        FeatnormError: a file is missing, no audio, empty, not mono or of another rate than
            ``sample_rate``, or its twin has another rate or length.
    """
    infos = []
    for path in (noisy, clean):
        if path is None:
            break
        try:
            infos.append((path, audio_info(path)))
        except FeatnormError as error:
            raise FeatnormError(f"{name}: {error}") from error
    check_infos(name, infos, sample_rate)


def check_infos(name: str, infos: list[tuple[str, AudioInfo]], sample_rate: int | None) -> None:
    """Check what is known of one utterance's noisy file and, when there, of its clean twin.

    Raises:
        FeatnormError: as ``check_headers``.
    """
    for path, header in infos:
        if header.channels != 1:
            raise FeatnormError(
                f"{path} has {header.channels} channels, one is wanted: take one channel of it"
            )
        if header.frames == 0:
            raise FeatnormError(f"{path} has no samples: remove the pair or copy it again")
        if sample_rate is not None and header.sample_rate != sample_rate:
            raise FeatnormError(
                f"{path} is sampled at {header.sample_rate} Hz, {sample_rate} Hz is wanted: run"
                " stage 1, which resamples"
            )
    if len(infos) < 2:
        return
    (noisy, first), (clean, second) = infos
    if first.sample_rate != second.sample_rate:
        raise FeatnormError(
            f"{name}: the noisy file is sampled at {first.sample_rate} Hz and its clean twin at"
            f" {second.sample_rate} Hz: {noisy}, {clean}"
        )
    if first.frames != second.frames:
        raise FeatnormError(
            f"{name}: the noisy file has {first.frames} samples and its clean twin"
            f" {second.frames}: {noisy}, {clean}"
        )
