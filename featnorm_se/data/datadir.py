"""Kaldi-style data directories: written sorted, and checked before anything is built on them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from featnorm_se.data.audio import AudioInfo, audio_info
from featnorm_se.data.scp import read_scp, write_scp
from featnorm_se.errors import FeatnormError
from featnorm_se.files import read_text, stamp, write_text
from featnorm_se.names import SAMPLE_RATE

LISTS = ("wav.scp", "spk1.scp", "utt2spk", "spk2utt")


@dataclass(frozen=True)
class Utterance:
    """One pair of a noisy file and its clean twin, or of a mixture and its two talkers.

    Attributes:
        name: of the utterance.
        noisy, clean: files, in a Kaldi scp's words (``file.ark:123``, ``command |``); empty for a
            twin that is missing.
        speaker: who speaks; ``one+other`` where two do.
        seconds: its length, when it has been read.
        condition: noise and SNR in dB, when known.
        cut: samples left out at the end of the longer twin.
        span: its begin and end in the files, in seconds; an end below 0 is the files'.
        clean2: the second talker's clean file; empty where one speaks.
        shifts: how many seconds the noisy file is later than each clean one, see ``find_shift``.
    """

    name: str
    noisy: str
    clean: str
    speaker: str
    seconds: float = 0.0
    condition: tuple[str, float] | None = None
    cut: int = 0
    span: tuple[float, float] = (0.0, -1.0)
    clean2: str = field(default="", repr=False)  # fingerprints of pairs stay what they were
    shifts: tuple[float, ...] = field(default=(), repr=False)


def write_data_dir(folder: Path, utterances: Sequence[Utterance]) -> None:
    """Write wav.scp (noisy), spk1.scp (clean), utt2spk, spk2utt and, when known, utt2cond.

    ``utt2cond`` is tab-separated: utterance, noise, SNR in dB. A second talker is in spk2.scp.
    All are sorted by name.

    Raises:
        FeatnormError: the folder cannot be written, or a name cannot stand in Kaldi's files.
    """
    by_speaker: dict[str, list[str]] = {}
    for utt in sorted(utterances, key=lambda utt: utt.name):
        by_speaker.setdefault(utt.speaker, []).append(utt.name)
    write_scp(folder / "wav.scp", {utt.name: utt.noisy for utt in utterances})
    write_scp(folder / "spk1.scp", {utt.name: utt.clean for utt in utterances})
    (folder / "spk2.scp").unlink(missing_ok=True)
    if second := {utt.name: utt.clean2 for utt in utterances if utt.clean2}:
        write_scp(folder / "spk2.scp", second)
    write_scp(folder / "utt2spk", {utt.name: utt.speaker for utt in utterances})
    write_scp(folder / "spk2utt", {who: " ".join(names) for who, names in by_speaker.items()})
    known = [(utt.name, *utt.condition) for utt in utterances if utt.condition]
    (folder / "utt2cond").unlink(missing_ok=True)
    if lines := sorted(f"{name}\t{noise}\t{snr:g}\n" for name, noise, snr in known):
        write_text(folder / "utt2cond", "".join(lines))


def name_speakers(pairs: list[Utterance], utt2spk: Path) -> list[Utterance]:
    """Give pairs the speakers of a file, where it is there.

    Raises:
        FeatnormError: it does not name one speaker for each pair.
    """
    if not utt2spk.is_file():
        return pairs
    known = read_scp(utt2spk)
    whole = [pair.name for pair in pairs if pair.noisy and pair.clean]
    if lacking := [name for name in whole if len(known.get(name, "").split()) != 1]:
        fault = f"{utt2spk} does not name one speaker for {lacking[0]} ({len(lacking)} such"
        raise FeatnormError(f"{fault} of {len(whole)}): a line is '<utterance> <speaker>'")
    return [replace(pair, speaker=known.get(pair.name, pair.speaker)) for pair in pairs]


def stamp_recordings(folder: Path) -> str:
    """Return the stamp of all recordings that a data directory's lists name."""
    lists = (folder / name for name in ("wav.scp", "spk1.scp", "spk2.scp"))
    return stamp(file for scp in lists if scp.is_file() for file in read_scp(scp).values())


def ready_info(path: str, mend: str) -> AudioInfo:
    """Read the header of a recording and check that training can take it as it is.

    Raises:
        FeatnormError: it has not one channel at 16 kHz, or no samples; ``mend`` ends the message.
    """
    h = audio_info(path)
    if (h.channels, h.sample_rate) != (1, SAMPLE_RATE) or not h.frames:
        found = f"{h.channels} channels of {h.frames} samples at {h.sample_rate} Hz"
        wanted = f"one, with samples, at {SAMPLE_RATE} Hz is wanted: {mend}"
        raise FeatnormError(f"{path} has {found}; {wanted}")
    return h


def validate_data_dir(folder: Path) -> dict[str, dict[str, str]]:
    """Check a data directory from its lists and the files' headers.

    Returns:
        What wav.scp, spk1.scp and, where they are, spk2.scp and utt2spk hold, by their names, and
        as ``samples`` how many each utterance has.

    Raises:
        FeatnormError: a list is missing or has other keys than the next; a file is missing, no
            audio, not mono or of another rate; the lengths of twins differ.
    """
    if not (folder / "wav.scp").is_file():
        raise FeatnormError(f"{folder} has no wav.scp: run stage 1, which writes it")
    further = (name for name in ("spk2.scp", "utt2spk") if (folder / name).exists())
    lists = {name: read_scp(folder / name) for name in ("wav.scp", "spk1.scp", *further)}
    for name, entries in lists.items():
        if odd := sorted(lists["wav.scp"].keys() ^ entries.keys()):
            there, other = (name, "wav.scp") if odd[0] in entries else ("wav.scp", name)
            fault = f"the utterance {odd[0]} is in {folder}/{there} only ({len(odd)} such)"
            raise FeatnormError(f"{fault}: add its twin to {folder}/{other} or remove it")
    samples: dict[str, str] = {}
    for name in lists["wav.scp"]:
        files = [entries[name] for key, entries in lists.items() if key != "utt2spk"]
        infos = [(file, ready_info(file, "run stage 1")) for file in files]
        if len({h for _, h in infos}) > 1:
            twins = ", ".join(f"{path} ({h.frames} samples)" for path, h in infos)
            raise FeatnormError(f"{name}: noisy file and clean twin differ: {twins}")
        samples[name] = str(infos[0][1].frames)
    return lists | {"samples": samples}


def read_log(path: Path) -> dict[str, tuple[str, float]]:
    """Read a condition log: a line is an utterance, a noise and an SNR in dB.

    Blanks part them, or two tabs: then a noise may be of several words.

    Returns:
        Noise and SNR by utterance; empty when there is no such file.

    Raises:
        FeatnormError: a line reads otherwise (the message has its number), or it is not UTF-8.
    """
    if not path.is_file():
        return {}
    conditions: dict[str, tuple[str, float]] = {}
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            words = line.strip().split("\t")
            name, noise, snr = map(str.strip, words if len(words) == 3 else line.split())
            if math.isnan(float(snr)):
                raise ValueError(snr)
            conditions[name] = (noise, float(snr))
        except ValueError as error:
            fault = f"{path} line {number} is not 'utterance noise SNR': {line.strip()[:60]!r}"
            raise FeatnormError(fault) from error
    return conditions
