"""Kaldi-style data directories: written sorted, and checked before anything is built on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from featnorm_se.data.audio import AudioInfo, audio_info
from featnorm_se.data.scp import read_scp, write_scp
from featnorm_se.errors import FeatnormError
from featnorm_se.files import write_text

LISTS = ("wav.scp", "spk1.scp", "utt2spk", "spk2utt")


@dataclass(frozen=True)
class Utterance:
    """One pair of a noisy file and its clean twin.

    Attributes:
        name: of the utterance.
        noisy, clean: files, in a Kaldi scp's words (``file.ark:123``, ``command |``).
        speaker: who speaks.
        seconds: its length, when it has been read.
        condition: noise and SNR in dB, when known.
    """

    name: str
    noisy: str
    clean: str
    speaker: str
    seconds: float = 0.0
    condition: tuple[str, float] | None = None


def write_data_dir(folder: Path, utterances: Sequence[Utterance]) -> None:
    """Write wav.scp (noisy), spk1.scp (clean), utt2spk, spk2utt and, when known, utt2cond.

    ``utt2cond`` is tab-separated: utterance, noise, SNR in dB.

    Args:
        folder: made when missing.
        utterances: in any order; the files are sorted by name.

    Raises:
        FeatnormError: the folder cannot be written, or a name cannot stand in Kaldi's files.
    """
    by_speaker: dict[str, list[str]] = {}
    for utt in sorted(utterances, key=lambda utt: utt.name):
        by_speaker.setdefault(utt.speaker, []).append(utt.name)
    write_scp(folder / "wav.scp", {utt.name: utt.noisy for utt in utterances})
    write_scp(folder / "spk1.scp", {utt.name: utt.clean for utt in utterances})
    write_scp(folder / "utt2spk", {utt.name: utt.speaker for utt in utterances})
    write_scp(folder / "spk2utt", {who: " ".join(names) for who, names in by_speaker.items()})
    lines = [
        f"{utt.name}\t{utt.condition[0]}\t{utt.condition[1]:g}\n"
        for utt in utterances
        if utt.condition
    ]
    if lines:
        write_text(folder / "utt2cond", "".join(sorted(lines)))
    else:
        (folder / "utt2cond").unlink(missing_ok=True)


def validate_data_dir(folder: Path, sample_rate: int | None = None) -> dict[str, dict[str, str]]:
    """Check a data directory from its lists and the files' headers.

    Args:
        folder: holds wav.scp, spk1.scp and, perhaps, utt2spk.
        sample_rate: the rate in Hz that all files must have; ``None`` takes any.

    Returns:
        What each of these lists holds, by its name.

    Raises:
        FeatnormError: a list is missing or has other keys than the next; a file is missing, no
            audio, not mono or of another rate; the lengths of twins differ.
    """
    if not (folder / "wav.scp").is_file():
        raise FeatnormError(f"{folder} has no wav.scp: run stage 1, which writes it")
    names = ["wav.scp", "spk1.scp", *(["utt2spk"] if (folder / "utt2spk").exists() else [])]
    lists = {name: read_scp(folder / name) for name in names}
    for name, entries in lists.items():
        check_twins(lists["wav.scp"], entries, (f"{folder}/wav.scp", f"{folder}/{name}"))
    for name, noisy in lists["wav.scp"].items():
        try:
            infos = [(file, audio_info(file)) for file in (noisy, lists["spk1.scp"][name])]
        except FeatnormError as error:
            raise FeatnormError(f"{name}: {error}") from error
        check_infos(name, infos, sample_rate)
    return lists


def check_twins(noisy: Mapping[str, str], clean: Mapping[str, str], names: Sequence[str]) -> None:
    """Check that two lists have the same utterances, so that none is dropped.

    Args:
        noisy, clean: files by utterance.
        names: what messages call the two.

    Raises:
        FeatnormError: they have not; the message names the first.
    """
    odd = sorted(noisy.keys() ^ clean.keys())
    if odd:
        there, other = names if odd[0] in noisy else reversed(names)
        raise FeatnormError(
            f"the utterance {odd[0]} is in {there} only ({len(odd)} such): add its twin to {other}"
            " or remove it"
        )


def check_infos(name: str, infos: Sequence[tuple[str, AudioInfo]], sample_rate: int | None) -> None:
    """Check what is known of one utterance's noisy file and of its clean twin.

    Raises:
        FeatnormError: a file is empty, not mono or of another rate than ``sample_rate``, or its
            twin has another rate or length.
    """
    for path, header in infos:
        if header.channels != 1 or header.frames == 0:
            raise FeatnormError(
                f"{path} has {header.channels} channels of {header.frames} samples, one channel"
                " with samples is wanted"
            )
        if sample_rate not in (None, header.sample_rate):
            raise FeatnormError(
                f"{path} is sampled at {header.sample_rate} Hz, {sample_rate} Hz is wanted: run"
                " stage 1, which resamples"
            )
    if infos[0][1] != infos[1][1]:
        twins = [f"{path} ({h.frames} samples at {h.sample_rate} Hz)" for path, h in infos]
        raise FeatnormError(f"{name}: the noisy file and its clean twin differ: {', '.join(twins)}")
