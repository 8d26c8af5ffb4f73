"""Which files are to be enhanced into which, and all of them through a model.

What was done before is left alone; a bad file is told and the others go on.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path

from featnorm_se.data.audio import AUDIO_SUFFIXES, audio_info
from featnorm_se.data.parallel import parallel_map
from featnorm_se.errors import FeatnormError
from featnorm_se.files import sha256_file, write_json
from featnorm_se.inference.audio_file import enhance_file
from featnorm_se.inference.audio_stream import AudioInput, check_ending
from featnorm_se.inference.enhancer import Enhancer
from featnorm_se.inference.loading import find_weights
from featnorm_se.inference.longform import Windowing

RECORD = ".featnorm_se.json"  # in an output folder: what its files were made with
NOISE = ".noise"  # goes before the ending of a noise file's name
_SECONDS_BETWEEN_LINES = 5.0
_SECONDS_UNTIL_STALE = 60.0


@dataclass(frozen=True)
class Job:
    """One file: what to read and write, where the noise goes, and a name for messages."""

    source: Path
    target: Path
    noise: Path | None = None
    name: str = ""


def plan_jobs(inputs: Sequence[Path], output: Path, save_noise: bool) -> list[Job]:
    """Return what is to be done. One file goes to a file or into a folder, all else to a folder.

    A folder's tree is kept below ``output``; of several folders each keeps its name.

    Raises:
        FeatnormError: an input is missing or holds no audio, two inputs would go to one file,
            or a file would be written over itself.
    """
    pairs: list[tuple[Path, Path]] = []
    for number, path in enumerate(inputs):
        if path in inputs[:number]:
            raise FeatnormError(f"{path} is given twice")
        if path.is_dir():
            if path.resolve() == output.resolve():
                raise FeatnormError(f"{path} would be written over itself: name another --output")
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
            check_ending(output)
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
    _drop_stale({job.target.parent for job in jobs})
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


def _drop_stale(folders: set[Path]) -> None:
    """Remove what runs that were killed have left half written."""
    for path in (path for folder in folders for path in folder.glob(".[0-9]*.tmp.*")):
        number = path.name.split(".")[1]
        with suppress(OSError):
            # A run on another machine writes now and then.
            old = time.time() - path.stat().st_mtime > _SECONDS_UNTIL_STALE
            if number.isdigit() and old and not Path("/proc", number).exists():
                path.unlink()


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


@dataclass(frozen=True)
class Settings:
    """How files are enhanced.

    Attributes:
        model: an experiment's folder, a packed model or a name on Hugging Face.
        model_file: weights in the folder; ``None``: the best.
        device: ``auto``, ``cpu`` or ``cuda``.
        bf16: compute in bfloat16 where the processor has it.
        atten_lim: dB that are taken away at most; ``None``: no limit.
        windowing: how long files are cut.
        skip_done: leave files alone that are done.
        tell_failed: tell of a bad file at once, and not only in its outcome.
    """

    model: str
    model_file: str | None = None
    device: str = "auto"
    bf16: bool = False
    atten_lim: float | None = None
    windowing: Windowing = field(default_factory=Windowing)
    skip_done: bool = False
    tell_failed: bool = True

    def made_with(self) -> dict[str, object]:
        """Return what the output depends on, by name, to be compared between runs."""
        path = Path(self.model)
        if path.is_dir():
            model = sha256_file(find_weights(path, self.model_file))
        else:
            model = sha256_file(path) if path.is_file() else self.model
        cut = self.windowing
        return {
            "model": model,
            "bf16": self.bf16,
            "atten_lim": self.atten_lim,
            "stats": cut.stats,
            "window": cut.seconds,
        }


@dataclass(frozen=True)
class Outcome:
    """What came of one file: ``enhanced``, ``skipped`` or ``failed``, and why."""

    source: str
    status: str
    seconds: float = 0.0
    reason: str = ""


def enhance_files(jobs: Sequence[Job], settings: Settings, nj: int = 1) -> list[Outcome]:
    """Enhance files; progress, warnings and faults go to stderr as they come.

    Args:
        jobs: the files.
        settings: how.
        nj: processes, each with its own copy of the model and one thread.

    Returns:
        One outcome a job.

    Raises:
        FeatnormError: the model cannot be loaded, or a process died.
    """
    work = partial(enhance_one, settings)
    if nj > 1:
        return parallel_map(work, jobs, nj, "enhancing")
    return [work(job) for job in jobs]


def enhance_one(settings: Settings, job: Job) -> Outcome:
    """Do one file, in whatever process."""
    name = job.name or str(job.source)
    if settings.skip_done and is_done(job):
        return Outcome(name, "skipped")
    enhancer = load_once(settings)
    try:
        source = AudioInput(job.source, name)
        header = source.header
        progress = Lines(name, header.frames / header.sample_rate)
        done = enhance_file(enhancer, source, job.target, job.noise, settings.windowing, progress)
    except FeatnormError as error:
        if settings.tell_failed:
            _tell(f"failed: {error}")
        return Outcome(name, "failed", reason=str(error))
    if done.clipped:
        _tell(f"warning: {job.target}: {done.clipped} samples beyond full scale were clipped")
    return Outcome(name, "enhanced", done.seconds)


@lru_cache(maxsize=1)
def load_once(how: Settings) -> Enhancer:
    """Load a model at the first file of a process and keep it for the others."""
    enhancer = Enhancer.from_pretrained(
        how.model, how.device, how.model_file, how.bf16, how.atten_lim
    )
    if how.bf16 and not enhancer.bf16:
        _tell("warning: this processor has no bfloat16, computing in float32")
    return enhancer


class Lines:
    """Prints how far a long file is, every few seconds.

    Args:
        name: of the file.
        seconds: its length.
    """

    def __init__(self, name: str, seconds: float) -> None:
        self._name = name
        self._seconds = seconds
        self._begun = self._told = time.monotonic()

    def __call__(self, share: float) -> None:
        now = time.monotonic()
        if now - self._told < _SECONDS_BETWEEN_LINES or share <= 0:
            return
        self._told = now
        spent = now - self._begun
        _tell(
            f"{self._name}: {100 * share:.0f} %, {self._seconds * share / spent:.1f} times real"
            f" time, {spent / share - spent:.0f} s left"
        )


def _tell(line: str) -> None:
    # Names of files can hold anything.
    plain = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)
    print(plain, file=sys.stderr, flush=True)
