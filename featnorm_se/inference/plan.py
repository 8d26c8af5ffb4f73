"""Which files are to be enhanced into which."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from featnorm_se.data.corpus import NOISE_SUFFIX
from featnorm_se.data.decoding import AUDIO_SUFFIXES, DECODED_SUFFIXES, walk_audio
from featnorm_se.errors import FeatnormError
from featnorm_se.inference.audio_stream import AUDIO_ENDINGS


@dataclass(frozen=True)
class Job:
    """One file: what to read and write, and where the noise goes, if anywhere.

    ``target`` is the first talker's, ``others`` are those of the others, if the model parts any.
    """

    source: Path
    target: Path
    noise: Path | None = None
    others: tuple[Path, ...] = ()

    @classmethod
    def of(cls, source: Path, target: Path, talkers: int = 1, save_noise: bool = False) -> Job:
        """Name files after ``target``: x_spk1.wav and x_spk2.wav of two talkers, x.noise.wav."""

        def beside(mark: str) -> Path:
            return target.with_name(f"{target.stem}{mark}{target.suffix}")

        marks = [f"_spk{n + 1}" for n in range(talkers)] if talkers > 1 else [""]
        first, *others = map(beside, marks)
        return cls(source, first, beside(NOISE_SUFFIX) if save_noise else None, tuple(others))

    @property
    def outputs(self) -> list[Path]:
        """The files that are written."""
        return [self.target, *self.others, *([] if self.noise is None else [self.noise])]


@dataclass(frozen=True)
class Outcome:
    """What came of one file: ``enhanced``, ``skipped`` or ``failed``, and why."""

    status: str
    seconds: float = 0.0
    reason: str = ""


def plan_jobs(
    inputs: Sequence[Path], output: Path, save_noise: bool, folder: bool, talkers: int = 1
) -> list[Job]:
    """Return what is to be done; ``output`` is a file for one file, else a ``folder``.

    A folder's tree is kept below ``output``; of several folders each keeps its name. A format that
    cannot be written becomes ``.wav``.

    Raises:
        FeatnormError: an input is missing or holds no audio, two inputs would go to one file,
            or a file would be written over itself.
    """
    pairs: list[tuple[Path, Path]] = []
    for path in inputs:
        if path.is_dir():
            found = walk_audio(path, leave_out=output)
            if not found:
                fault = f"{path} holds no audio files ({AUDIO_ENDINGS}), or only those of --output"
                raise FeatnormError(fault)
            top = output / path.resolve().name if len(inputs) > 1 else output
            pairs += [(file, top / _written_as(file.relative_to(path))) for file in found]
        elif not os.path.lexists(path):
            raise FeatnormError(f"no such file or folder: {path}")
        else:
            pairs.append((path, output / _written_as(Path(path.name)) if folder else output))
    jobs = [Job.of(source, target, talkers, save_noise) for source, target in pairs]
    sources = {os.path.realpath(job.source) for job in jobs}
    targets: dict[Path, Path] = {}
    for job in jobs:
        for target in job.outputs:
            if target in targets:
                raise FeatnormError(f"{targets[target]} and {job.source} would both go to {target}")
            targets[target] = job.source
            if os.path.realpath(target) in sources:
                raise FeatnormError(f"{target} would be written over itself: name another --output")
    return jobs


def _written_as(name: Path) -> Path:
    return name.with_suffix(".wav") if name.suffix.lower() in DECODED_SUFFIXES else name


def is_folder(inputs: Sequence[Path], output: str) -> bool:
    """Whether the output is a folder: it is one, ends like one, or the inputs need one.

    Raises:
        FeatnormError: they need one, and it is named like a file.
    """
    named = os.path.isdir(output) or output.endswith("/")
    several = len(inputs) > 1 or inputs[0].is_dir()
    if several and not named and Path(output).suffix.lower() in AUDIO_SUFFIXES:
        raise FeatnormError(f"{output} is a name of one file: a folder is wanted, {output}/ say")
    return several or named
