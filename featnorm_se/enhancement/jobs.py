"""Which files are to be enhanced into which, and what of it was done before."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from featnorm_se.data.audio import audio_info
from featnorm_se.enhancement.audio_stream import AUDIO_SUFFIXES
from featnorm_se.errors import FeatnormError
from featnorm_se.files import write_json

RECORD = ".featnorm_se.json"  # in an output folder: what its files were made with
NOISE = ".noise"  # goes before the ending of a noise file's name


@dataclass(frozen=True)
class Job:
    """One file: what to read, what to write, and where the noise goes, if anywhere."""

    source: Path
    target: Path
    noise: Path | None = None


def plan_jobs(inputs: Sequence[Path], output: Path, save_noise: bool) -> list[Job]:
    """Return what is to be done. One file goes to a file or into a folder, all else to a folder.

    A folder's tree is kept below ``output``; of several folders each keeps its name.

    Raises:
        FeatnormError: an input is missing or holds no audio, two inputs would go to one file,
            or a file would be written over itself.
    """
    pairs: list[tuple[Path, Path]] = []
    for path in inputs:
        if path.is_dir():
            found = list(_walk(path, output))
            if not found:
                raise FeatnormError(
                    f"{path} holds no audio files ({' '.join(sorted(AUDIO_SUFFIXES))})"
                )
            top = output / path.resolve().name if len(inputs) > 1 else output
            pairs += [(file, top / file.relative_to(path)) for file in found]
        elif not os.path.lexists(path):
            raise FeatnormError(f"no such file or folder: {path}")
        elif is_folder(inputs, output):
            pairs.append((path, output / path.name))
        else:
            pairs.append((path, output))
    targets: dict[Path, Path] = {}
    for source, target in pairs:
        if target in targets:
            raise FeatnormError(f"{targets[target]} and {source} would both go to {target}")
        targets[target] = source
        if target.exists() and source.exists() and os.path.samefile(source, target):
            raise FeatnormError(f"{source} would be written over itself: name another --output")
    return [Job(s, t, noise_path(t) if save_noise else None) for s, t in pairs]


def noise_path(target: Path) -> Path:
    """Return where the noise of ``target`` goes: ``x.wav`` has ``x.noise.wav``."""
    return target.with_name(f"{target.stem}{NOISE}{target.suffix}")


def is_folder(inputs: Sequence[Path], output: Path) -> bool:
    """Whether the output is a folder: it is one, or the inputs need one."""
    return len(inputs) > 1 or inputs[0].is_dir() or output.is_dir()


def _walk(folder: Path, output: Path, above: tuple[Path, ...] = ()) -> Iterator[Path]:
    """Yield the audio files below a folder; a link back to a folder above it is not followed."""
    real = folder.resolve()
    if real in above or real == output.resolve():
        return
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise FeatnormError(f"cannot read the folder {folder}: {error.strerror}") from error
    for entry in entries:
        # A link to itself is no folder and no file: it goes on, to be told as a bad file.
        if os.path.isdir(entry):
            yield from _walk(entry, output, (*above, real))
        elif entry.suffix.lower() in AUDIO_SUFFIXES and not entry.name.startswith("."):
            yield entry


def claim_folder(
    output: Path, made_with: dict[str, object], jobs: Sequence[Job], force: bool
) -> None:
    """Note in an output folder what its files are made with.

    Raises:
        FeatnormError: it holds files made with something else, or files of somebody else under
            the names to be written; ``force`` overwrites both.
    """
    record = output / RECORD
    if force:
        for job in jobs:
            job.target.unlink(missing_ok=True)
    elif record.is_file():
        try:
            before = json.loads(record.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise FeatnormError(f"{record} cannot be read: {error}; try --overwrite") from error
        odd = [key for key, value in made_with.items() if before.get(key) != value]
        if odd:
            raise FeatnormError(
                f"{output} holds files made with another {' and '.join(odd)}: name another"
                " --output, or give --overwrite"
            )
        return
    else:
        there = [job.target for job in jobs if job.target.exists()]
        if there:
            raise FeatnormError(
                f"{there[0]} is there and was not made by this command: name another --output,"
                " or give --overwrite"
            )
    write_json(record, made_with)


def is_done(job: Job) -> bool:
    """Whether the target is there, as long as its source and not older."""
    wanted = [job.target] if job.noise is None else [job.target, job.noise]
    try:
        oldest = min(path.stat().st_mtime for path in wanted)
        return oldest >= job.source.stat().st_mtime and (
            audio_info(job.source) == audio_info(job.target)
        )
    except (OSError, FeatnormError):
        return False
