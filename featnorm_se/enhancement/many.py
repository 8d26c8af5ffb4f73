"""Many files through a model: a bad one is told and the others go on."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path

from featnorm_se.data.parallel import parallel_map
from featnorm_se.enhancement.audio_file import enhance_file
from featnorm_se.enhancement.audio_stream import AudioInput
from featnorm_se.enhancement.enhancer import Enhancer
from featnorm_se.enhancement.jobs import Job, is_done
from featnorm_se.enhancement.loading import find_weights
from featnorm_se.enhancement.longform import Windowing
from featnorm_se.errors import FeatnormError
from featnorm_se.files import sha256_file

_SECONDS_BETWEEN_LINES = 5.0


@dataclass(frozen=True)
class Settings:
    """How files are enhanced.

    Attributes:
        model: an experiment's folder, a packed model or a name on Hugging Face.
        model_file: weights in the folder; ``None``: the best.
        device: ``auto``, ``cpu`` or ``cuda``.
        bf16: compute in bfloat16 where the processor has it.
        windowing: how long files are cut.
        skip_done: leave files alone that are done.
    """

    model: str
    model_file: str | None = None
    device: str = "auto"
    bf16: bool = False
    windowing: Windowing = field(default_factory=Windowing)
    skip_done: bool = False

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
    name = str(job.source)
    if settings.skip_done and is_done(job):
        return Outcome(name, "skipped")
    enhancer = load_once(settings.model, settings.model_file, settings.device, settings.bf16)
    try:
        source = AudioInput(job.source)
        header = source.header
        progress = Lines(name, header.frames / header.sample_rate)
        done = enhance_file(enhancer, source, job.target, job.noise, settings.windowing, progress)
    except FeatnormError as error:
        _tell(f"failed: {error}")
        return Outcome(name, "failed", reason=str(error))
    if done.clipped:
        _tell(f"warning: {job.target}: {done.clipped} samples beyond full scale were clipped")
    return Outcome(name, "enhanced", done.seconds)


@lru_cache(maxsize=1)
def load_once(model: str, model_file: str | None, device: str, bf16: bool) -> Enhancer:
    """Load a model at the first file of a process and keep it for the others."""
    enhancer = Enhancer.from_pretrained(model, device, model_file, bf16)
    if bf16 and not enhancer.bf16:
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
    print(line, file=sys.stderr, flush=True)
