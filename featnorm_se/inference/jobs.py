"""Which files are to be enhanced into which, and all of them through a model."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from featnorm_se.data.audio import AUDIO_SUFFIXES, FloatArray, resample_blocks, resampled_length
from featnorm_se.data.parallel import parallel_map
from featnorm_se.errors import FeatnormError
from featnorm_se.files import is_done, locked, mark_done, remove_temporary, sha256_file
from featnorm_se.inference.audio_stream import AudioInput, audio_output
from featnorm_se.inference.enhancer import Enhancer
from featnorm_se.inference.long_signal import Signal, enhance_signal
from featnorm_se.inference.model_file import find_weights
from featnorm_se.inference.windows import Windowing
from featnorm_se.names import SAMPLE_RATE


@dataclass(frozen=True)
class Job:
    """One file: what to read and write, and where the noise goes, if anywhere."""

    source: Path
    target: Path
    noise: Path | None = None


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
    """

    model: str
    model_file: str | None = None
    device: str = "auto"
    bf16: bool = False
    atten_lim: float | None = None
    windowing: Windowing = field(default_factory=Windowing)

    def request(self) -> dict[str, object]:
        """Return what the output depends on, to be compared between runs."""
        path = Path(self.model)
        weights = find_weights(path, self.model_file) if path.is_dir() else path
        model = sha256_file(weights) if weights.is_file() else self.model
        windowing = asdict(self.windowing)
        del windowing["batch"]  # it changes rounding only
        return {"model": model, "bf16": self.bf16, "atten_lim": self.atten_lim, **windowing}


@dataclass(frozen=True)
class Outcome:
    """What came of one file: ``enhanced``, ``skipped`` or ``failed``, and why."""

    status: str
    seconds: float = 0.0
    reason: str = ""


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
                known = " ".join(sorted(AUDIO_SUFFIXES))
                raise FeatnormError(f"{path} holds no audio files ({known}) beside --output")
            top = output / path.resolve().name if len(inputs) > 1 else output
            pairs += [(file, top / file.relative_to(path)) for file in found]
        elif not os.path.lexists(path):
            raise FeatnormError(f"no such file or folder: {path}")
        else:
            pairs.append((path, output / path.name if is_folder(inputs, output) else output))
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
    return target.with_name(f"{target.stem}.noise{target.suffix}")


def is_folder(inputs: Sequence[Path], output: Path) -> bool:
    """Whether the output is a folder: it is one, or the inputs need one."""
    return len(inputs) > 1 or inputs[0].is_dir() or output.is_dir()


def _walk(folder: Path, output: Path, above: tuple[Path, ...] = ()) -> Iterator[Path]:
    """Yield the audio files below a folder; a link back to a folder above it is not followed."""
    real = folder.resolve()
    if real in above or real == output.resolve():
        return
    for entry in sorted(folder.iterdir()):
        # A link to itself is no folder and no file: it goes on, to be reported as a bad file.
        if os.path.isdir(entry):
            yield from _walk(entry, output, (*above, real))
        elif entry.suffix.lower() in AUDIO_SUFFIXES and not entry.name.startswith("."):
            yield entry


def enhance_into_folder(
    jobs: Sequence[Job], output: Path, settings: Settings, nj: int, overwrite: bool
) -> list[Outcome]:
    """Enhance files; what is done already is left alone, and a bad file does not stop the others.

    Args:
        jobs: the files.
        output: the folder that all targets are in.
        settings: how.
        nj: processes, each with its own copy of the model and one thread.
        overwrite: do again what is there.

    Returns:
        One outcome a job.

    Raises:
        FeatnormError: a target is there and was made by somebody else, by another model or with
            other options; the model cannot be loaded, or a process died.
    """
    request = settings.request()
    with locked(output / "enhance"):
        for folder in {job.target.parent for job in jobs}:
            remove_temporary(folder)
        for target in (job.target for job in jobs if job.target.exists()):
            if overwrite:
                target.unlink()
            elif not is_done(target, request):
                raise FeatnormError(
                    f"{target} was not made by this command with this model and these options:"
                    " name another --output, or give --overwrite"
                )
        work = partial(_enhance_unless_done, settings, request, nj == 1)
        return parallel_map(work, jobs, nj, "enhancing")


def _enhance_unless_done(
    settings: Settings, request: dict[str, object], alone: bool, job: Job
) -> Outcome:
    noise_is_there = job.noise is None or job.noise.exists()
    if noise_is_there and job.source.exists() and is_done(job.target, request, [job.source]):
        return Outcome("skipped")
    enhancer = load_once(settings)
    label = job.source.name if alone else ""  # the lines of several processes would mix
    try:
        outcome = enhance_file(enhancer, job, settings.windowing, label)
    except FeatnormError as error:
        _warn(f"failed: {error}")
        return Outcome("failed", reason=str(error))
    mark_done(job.target, request)
    return outcome


@lru_cache(maxsize=1)
def load_once(settings: Settings) -> Enhancer:
    """Load a model at the first file of a process and keep it for the others."""
    enhancer = Enhancer.from_pretrained(
        settings.model, settings.device, settings.model_file, settings.bf16, settings.atten_lim
    )
    if settings.bf16 and not enhancer.bf16:
        _warn("warning: this processor has no bfloat16, computing in float32")
    return enhancer


def enhance_file(
    enhancer: Enhancer, job: Job, windowing: Windowing | None = None, label: str = ""
) -> Outcome:
    """Enhance a file into another, in blocks; memory does not grow with its length.

    Args:
        enhancer: the model.
        job: the noisy file, and the file to write: same rate, length, channels and sample
            format, whole or not at all. The noise is what was taken away, noisy minus enhanced.
        windowing: how a long file is cut; ``None``: the defaults.
        label: show how far a long file is, under this name.

    Raises:
        FeatnormError: the source is cut short or holds NaN, or a target cannot be written.
    """
    source = AudioInput(job.source)
    header, rate = source.header, source.header.sample_rate
    signal = Signal(
        resampled_length(header.frames, rate, SAMPLE_RATE),
        header.channels,
        lambda: resample_blocks(source.blocks(), rate, SAMPLE_RATE),
    )
    pieces = enhance_signal(enhancer, signal, windowing, label)
    enhanced = _first(resample_blocks(pieces, SAMPLE_RATE, rate), header.frames)
    with ExitStack() as stack:
        outputs = [stack.enter_context(audio_output(job.target, header))]
        if job.noise is not None:
            outputs.append(stack.enter_context(audio_output(job.noise, header)))
            original = _Reader(source.blocks())
        for piece in enhanced:
            outputs[0].write(piece)
            if job.noise is not None:
                outputs[1].write(original.read(len(piece)) - piece)
    clipped = sum(output.clipped for output in outputs)
    if clipped:
        _warn(f"warning: {job.target}: {clipped} samples beyond full scale were clipped")
    return Outcome("enhanced", header.frames / rate)


def _first(pieces: Iterator[FloatArray], frames: int) -> Iterator[FloatArray]:
    """Yield the first so many samples: resampling there and back can add a few."""
    for piece in pieces:
        yield piece[:frames]
        frames -= min(frames, len(piece))


class _Reader:
    """Reads so many samples at a time from blocks of any length."""

    def __init__(self, blocks: Iterator[FloatArray]) -> None:
        self._blocks = blocks
        self._held = next(blocks)

    def read(self, frames: int) -> FloatArray:
        """Return the next (frames, channels)."""
        while len(self._held) < frames:
            self._held = np.concatenate([self._held, next(self._blocks)])
        taken, self._held = self._held[:frames], self._held[frames:]
        return taken


def _warn(line: str) -> None:
    # Names of files can hold anything.
    plain = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)
    print(plain, file=sys.stderr, flush=True)
