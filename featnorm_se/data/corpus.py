"""Pairs of noisy and clean files of a corpus, found in its folders or lists before any is read."""

import os
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from unicodedata import normalize

from featnorm_se.data.datadir import Utterance, name_speakers
from featnorm_se.data.decoding import AUDIO_SUFFIXES, walk_audio
from featnorm_se.data.scp import check_key, is_command, read_scp
from featnorm_se.errors import FeatnormError, say
from featnorm_se.files import PathLike

NOISE_SUFFIX = ".noise"  # ``x.noise.wav`` is what was taken away from ``x.wav``
_FILEID = re.compile(r"fileid_\d+")  # as the DNS Challenge names files,
_READER = re.compile(r"reader_\d+")  # and their speakers
SETS = ("train", "valid", "test")


@dataclass(frozen=True)
class CorpusSet:
    """One set of a corpus: its pairs, its condition log, and a name for converted files."""

    pairs: list[Utterance]
    log: Path
    folder: str


def find_pairs(noisy: Path, clean: Path) -> list[Utterance]:
    """Pair the audio files of two folders by their names.

    They lie in the folders, or in sub-folders of them, a speaker's each.

    Returns:
        The pairs, sorted by name: a file's, with the sub-folders before it where it does not begin
        with the first. That one is the speaker; else it is what stands before the name's first
        underscore.

    Raises:
        FeatnormError: a folder is missing, empty or has files beside sub-folders, a name comes
            twice or cannot stand in Kaldi's files, or no name is in both (see ``match_names``).
    """
    (noisy_files, speakers), (clean_files, of_clean) = _name_files(noisy), _name_files(clean)
    speakers |= of_clean
    odd: list[str] = []
    for name, file in {**noisy_files, **clean_files}.items():
        try:
            check_key(name, file)
        except FeatnormError as error:
            odd.append(str(error))
    if odd:
        for fault in sorted(odd)[1:10]:
            say(fault)
        raise FeatnormError(f"{min(odd)} ({len(odd)} such names, up to ten are told)")
    # A Mac parts letters and their accents: the noisy file's spelling is the pair's.
    spelled = {normalize("NFC", name): name for name in noisy_files}
    clean_files = {spelled.get(normalize("NFC", name), name): f for name, f in clean_files.items()}
    twins, _ = match_names(clean_files, noisy_files)
    if not noisy_files.keys() & {*twins.values()}:  # x_noisy and x, or x_noisy and x_clean
        bare = _without_ending(noisy_files)
        twins = {name: bare.get(s, name) for s, name in _without_ending(clean_files).items()}
    pairs = _pair_up(noisy_files, {twins[n]: f for n, f in clean_files.items()}, noisy, clean)
    return [replace(pair, speaker=speakers.get(pair.name, pair.speaker)) for pair in pairs]


def _name_files(folder: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Return a folder's audio files and their speakers, both by utterance name."""
    files = list_audio(folder)
    nested = [place for place in files if "/" in place]
    if 0 < len(nested) < len(files):
        raise FeatnormError(f"{folder} has files beside sub-folders ({nested[0]}): move either")
    named, speakers = dict[str, str](), dict[str, str]()
    for place, file in files.items():
        *folders, stem = place.split("/")
        own = not folders or stem.startswith((f"{folders[0]}_", f"{folders[0]}-"))
        name = stem if own else place.replace("/", "_")
        if name in named:
            raise FeatnormError(f"the name {name} comes twice below {folder}: rename {file}")
        reader = _READER.search(stem)
        speakers[name] = (*folders, reader[0] if reader else stem.split("_")[0])[0]
        named[name] = os.path.abspath(file)
    return named, speakers


def _without_ending(names: Collection[str]) -> dict[str, str]:
    """Return names by what stands before the words that all end with, such as ``_noisy``."""
    same = os.path.commonprefix([name[::-1] for name in names])[::-1]
    words = re.search("([_.-][A-Za-z]+)+$", same)
    size = len(words[0]) if words and len(names) > 1 else 0
    return {name[: len(name) - size]: name for name in names}


def _pair_up(noisy: Mapping[str, str], clean: Mapping[str, str], *places: Path) -> list[Utterance]:
    """Make utterances of two lists, sorted by name; a twin that is missing is the empty file."""
    if not noisy.keys() & clean.keys():
        fault = f"{places[0]} and {places[1]} have no name in common, such as {min(noisy)} and"
        raise FeatnormError(f"{fault} {min(clean)}: a noisy file and its clean twin have one name")
    return [
        Utterance(name, noisy.get(name, ""), clean.get(name, ""), name.split("_")[0])
        for name in sorted(noisy.keys() | clean.keys(), key=str.encode)
    ]


def list_audio(folder: Path) -> dict[str, str]:
    """List a folder's audio files by name without ending, after those of sub-folders.

    Raises:
        FeatnormError: the folder is missing or holds no audio, or a name comes twice.
    """
    if not folder.is_dir():
        raise FeatnormError(f"no such folder: {folder}: give the folder that holds it")
    found: dict[str, str] = {}
    for path in walk_audio(folder):
        name = path.relative_to(folder).with_suffix("").as_posix()
        if name in found:
            raise FeatnormError(f"the name {name} comes twice: {found[name]}, {path}: remove one")
        found[name] = str(path)
    if not found:
        raise FeatnormError(f"{folder} holds no audio file ({', '.join(AUDIO_SUFFIXES)})")
    return found


def read_listing(path: PathLike) -> dict[str, str]:
    """List the audio files of a folder (with its sub-folders) or of an scp file.

    In an scp file, a relative path is taken from the current folder, as Kaldi does, or else from
    the scp file's own.

    Returns:
        The files by utterance name. Whether they can be read is not looked at; commands and
        places in an archive are no files.

    Raises:
        FeatnormError: the path does not exist, holds no audio, or names an utterance twice.
    """
    root = Path(path)
    if root.is_dir():
        return list_audio(root)
    if root.suffix.lower() in AUDIO_SUFFIXES:
        raise FeatnormError(f"{path} is a recording: a folder of them, or an scp file, is wanted")
    files = read_scp(root)
    for name, value in files.items():
        beside = root.parent / value
        if not os.path.isfile(value) and beside.is_file():
            files[name] = str(beside)
    return files


def match_names(names: Collection[str], twins: Collection[str]) -> tuple[dict[str, str], str]:
    """Find the twins of names that are not the twins' own.

    Where one name is in both, or no rule fits, every name is its own twin's. Else ``fileid_7``,
    anywhere in a name, says it, as in the DNS Challenge; or what most names have behind their
    twin's: ``p257_001_enhanced``.

    Returns:
        The twins by name, and the rule in words; empty for names that are their twins'.
    """
    same = {name: name for name in names}
    known = set(twins)
    if known & same.keys():
        return same, ""
    ids = [{m[0]: name for name in side if (m := _FILEID.search(name))} for side in (names, twins)]
    if ids[0].keys() & ids[1].keys() and list(map(len, ids)) == [len(names), len(twins)]:
        return same | {ids[0][i]: ids[1][i] for i in ids[0].keys() & ids[1].keys()}, "fileid"
    ends = ((name, at) for name in names for at, mark in enumerate(name) if mark in "_-.")
    suffixes = Counter(name[at:] for name, at in ends if name[:at] in known)
    suffix = max(suffixes, key=suffixes.__getitem__, default="")
    return {name: name.removesuffix(suffix) for name in names}, suffix


def split_valid(
    pairs: list[Utterance], speakers: Sequence[str]
) -> tuple[list[Utterance], list[Utterance]]:
    """Take the validation speakers' pairs out of the training pairs.

    Returns:
        The pairs to train and the pairs to validate with.

    Raises:
        FeatnormError: no validation speaker is named, one is not there, or none is left to train.
    """
    there, chosen = {pair.speaker for pair in pairs}, set(speakers)
    if len(there) == len(pairs) > 2:
        told = f"each of the {len(pairs)} training pairs counts as a speaker of its own"
        say(f"warning: {told}: if that is not so, name the speakers in utt2spk")
    if not chosen or not chosen < there:
        fault = f"the speakers {' '.join(speakers) or '(none)'} cannot validate"
        mend = "and some must be left to train on: choose with --valid_speakers"
        known = f"the training set has {' '.join(sorted(there)[:40])}"
        raise FeatnormError(f"{fault}: {known}, {mend}")
    train = [pair for pair in pairs if pair.speaker not in chosen]
    return train, [pair for pair in pairs if pair.speaker in chosen]


def find_root(root: Path) -> list[Utterance]:
    """Pair the files of a folder's ``noisy`` and ``clean``; its ``utt2spk`` may say who speaks."""
    return name_speakers(find_pairs(root / "noisy", root / "clean"), root / "utt2spk")


def find_folders(
    db_root: Path, valid_speakers: Sequence[str], test_root: Path | None
) -> dict[str, CorpusSet]:
    """List the sets of a folder that holds ``train``, ``valid`` and ``test``.

    Args:
        db_root: each of the three has ``noisy``, ``clean`` and, perhaps, ``utt2spk`` and
            ``utt2cond``; without ``valid``, training speakers validate.
        valid_speakers: they.
        test_root: what takes the place of ``test``.

    Raises:
        FeatnormError: see ``find_pairs`` and ``split_valid``.
    """
    roots = {name: db_root / name for name in SETS} | ({"test": test_root} if test_root else {})
    if drawn := not roots["valid"].is_dir():
        say(f"{roots['valid']} is not there: speakers of {roots['train']} validate")
        roots["valid"] = roots["train"]
    pairs = {name: find_root(root) for name, root in roots.items()}
    if drawn:
        pairs["train"], pairs["valid"] = split_valid(pairs["train"], valid_speakers)
    return {name: CorpusSet(pairs[name], roots[name] / "utt2cond", name) for name in SETS}


def find_kaldi(folders: Sequence[Path], allow_pipes: bool = False) -> dict[str, CorpusSet]:
    """List data directories that are there already, in Kaldi's words, by their names.

    Args:
        folders: such as ``train``, ``valid`` and ``test``, each with wav.scp (noisy), spk1.scp
            (clean) and, perhaps, utt2spk, utt2cond and segments; all or none have spk2.scp. A
            value may be a path (relative ones count from where the command runs), a place in a
            Kaldi archive (``file.ark:123``) or a command (``command |``).
        allow_pipes: the commands may be run; they can do anything that you can.

    Raises:
        FeatnormError: a list is missing, the lists have no utterance in common, spk2.scp has
            others than wav.scp, or a command is there and not allowed.
    """
    sets = {}
    two = any((folder / "spk2.scp").is_file() for folder in folders)
    for folder in folders:
        noisy, clean = read_scp(folder / "wav.scp"), read_scp(folder / "spk1.scp")
        second = read_scp(folder / "spk2.scp") if two else {}
        if two and (odd := sorted(noisy.keys() ^ second.keys())):
            fault = f"{folder}/spk2.scp and wav.scp differ: the utterance {odd[0]} is in one only"
            raise FeatnormError(f"{fault} ({len(odd)} such): add it to the other or remove it")
        for entries in (noisy, clean, second):
            for name, value in entries.items():
                if not is_command(value):
                    entries[name] = os.path.abspath(value)
                elif not allow_pipes or value.lstrip().startswith("|"):
                    fault = f"{folder}: the entry of {name} is a command, {value!r}: commands of an"
                    mend = "scp, 'command |', run only with --allow_pipes true"
                    raise FeatnormError(f"{fault} {mend}")
        recordings = _pair_up(noisy, clean, folder / "wav.scp", folder / "spk1.scp")
        recordings = [replace(pair, clean2=second.get(pair.name, "")) for pair in recordings]
        pairs = _cut_up(folder, {pair.name: pair for pair in recordings})
        pairs = name_speakers(pairs, folder / "utt2spk")
        sets[folder.name] = CorpusSet(pairs, folder / "utt2cond", folder.name)
    return sets


def find_test_set(name: str, root: Path, allow_pipes: bool) -> dict[str, CorpusSet]:
    """List one more test set: a data directory of Kaldi's, or a folder of ``noisy`` and ``clean``.

    Beside these two, ``utt2spk`` and ``utt2cond`` may lie, or VoiceBank-DEMAND's log in its place.

    Raises:
        FeatnormError: see ``find_kaldi`` and ``find_pairs``.
    """
    if name in SETS or not re.fullmatch(r"\w[\w.-]*", name):
        raise FeatnormError(f"--test_set {name!r}: a folder's name is wanted, not {'/'.join(SETS)}")
    if (root / "wav.scp").is_file():
        (found,) = find_kaldi([root], allow_pipes).values()
        return {name: replace(found, folder=name)}
    log = root / "log_testset.txt"
    return {name: CorpusSet(find_root(root), log if log.is_file() else root / "utt2cond", name)}


def _cut_up(folder: Path, recordings: dict[str, Utterance]) -> list[Utterance]:
    """Make utterances of recordings, as Kaldi's ``segments`` say."""
    if not (segments := folder / "segments").is_file():
        return list(recordings.values())
    pairs = []
    for name, value in read_scp(segments).items():
        try:
            recording, begin, end = value.split()[:3]
            pair, span = recordings[recording], (float(begin), float(end))
            if not (0 <= span[0] < 1e9 and -1 <= span[1] < 1e9):
                raise ValueError(value)
        except (ValueError, KeyError) as error:
            raise FeatnormError(
                f"{segments}: '{name} {value}' is not 'utterance recording begin end' with times in"
                f" seconds and a recording of {folder}/wav.scp"
            ) from error
        pairs.append(replace(pair, name=name, speaker=name.split("_")[0], span=span))
    return sorted(pairs, key=lambda pair: pair.name.encode())
