"""Which files are to be enhanced into which, and all of them through a model.

``featnorm-se enhance`` takes anything and goes on after a bad file; stage 4 takes utterances of an
scp and lists them only when all are there.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path

from featnorm_se.collection import deciding_versions
from featnorm_se.data.audio import (
    open_audio,
    read_audio,
    resample_blocks,
    resampled_length,
    write_audio,
)
from featnorm_se.data.corpus import NOISE_SUFFIX
from featnorm_se.data.decoding import DECODED_SUFFIXES, walk_audio
from featnorm_se.data.parallel import parallel_map
from featnorm_se.data.scp import list_enhanced, read_scp
from featnorm_se.errors import FeatnormError, say
from featnorm_se.files import is_done, locked, mark_done, remove_temporary, sha256_file, stamp
from featnorm_se.inference.audio_stream import AUDIO_ENDINGS, AudioInput, audio_output
from featnorm_se.inference.enhancer import Enhancer
from featnorm_se.inference.high_band import to_own_rate
from featnorm_se.inference.long_signal import Signal, enhance_signal
from featnorm_se.inference.model_file import find_weights
from featnorm_se.inference.windows import Windowing
from featnorm_se.names import SAMPLE_RATE
from featnorm_se.progress import progress
from featnorm_se.upstream.fast import has_bf16


@dataclass(frozen=True)
class Job:
    """One file: what to read and write, and where the noise goes, if anywhere."""

    source: Path
    target: Path
    noise: Path | None = None

    @property
    def outputs(self) -> list[Path]:
        """The files that are written."""
        return [self.target] if self.noise is None else [self.target, self.noise]


@dataclass(frozen=True, kw_only=True)
class Settings(Windowing):
    """How files are enhanced, and how they are cut; ``conf/decode.yaml`` holds some of it.

    Attributes:
        model, model_file, device, precision, atten_lim, high_band: see
            ``Enhancer.from_pretrained``.
    """

    model: str
    model_file: str | None = None
    device: str = "auto"
    precision: str = "auto"
    atten_lim: float | None = None
    high_band: str = "keep"

    def request(self) -> dict[str, object]:
        """Return what the output depends on, to be compared between runs."""
        path = Path(self.model)
        weights = find_weights(path, self.model_file) if path.is_dir() else path
        model = sha256_file(weights) if weights.is_file() else self.model
        # The batch, the device and TF32 change rounding only.
        how = asdict(self) | {"model": model, "bf16": self.precision == "bf16"}
        for key in ("model_file", "device", "batch", "precision"):
            del how[key]
        return how


@dataclass(frozen=True)
class Outcome:
    """What came of one file: ``enhanced``, ``skipped`` or ``failed``, and why."""

    status: str
    seconds: float = 0.0
    reason: str = ""


def plan_jobs(inputs: Sequence[Path], output: Path, save_noise: bool, folder: bool) -> list[Job]:
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
                raise FeatnormError(
                    f"{path} holds no audio files ({AUDIO_ENDINGS}) beside --output"
                )
            top = output / path.resolve().name if len(inputs) > 1 else output
            pairs += [(file, top / _written_as(file.relative_to(path))) for file in found]
        elif not os.path.lexists(path):
            raise FeatnormError(f"no such file or folder: {path}")
        else:
            pairs.append((path, output / _written_as(Path(path.name)) if folder else output))
    jobs = [Job(s, t, noise_path(t) if save_noise else None) for s, t in pairs]
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


def noise_path(target: Path) -> Path:
    """Return where the noise of ``target`` goes: ``x.wav`` has ``x.noise.wav``."""
    return target.with_name(f"{target.stem}{NOISE_SUFFIX}{target.suffix}")


def _written_as(name: Path) -> Path:
    return name.with_suffix(".wav") if name.suffix.lower() in DECODED_SUFFIXES else name


def is_folder(inputs: Sequence[Path], output: str) -> bool:
    """Whether the output is a folder: it is one, ends like one, or the inputs need one."""
    return len(inputs) > 1 or inputs[0].is_dir() or os.path.isdir(output) or output.endswith("/")


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
    with locked(output / "enhance", named=output):
        for folder in {job.target.parent for job in jobs}:
            remove_temporary(folder)
        for job in [] if overwrite else jobs:
            for path, made in zip(job.outputs, (request, {**request, "noise": True}), strict=False):
                if path.exists() and not is_done(job.target, made):
                    raise FeatnormError(
                        f"{path} was not made by this command with this model and these options:"
                        " name another --output, or give --overwrite"
                    )
        work = partial(_enhance_unless_done, settings, request, nj == 1, overwrite)
        return parallel_map(work, jobs, nj, "enhancing")


def _enhance_unless_done(
    settings: Settings, how: dict[str, object], alone: bool, overwrite: bool, job: Job
) -> Outcome:
    request = {**how, "source": stamp([job.source])}
    if not overwrite and _is_done(job, request):
        return Outcome("skipped")
    enhancer = load_once(settings)
    label = job.source.name if alone else ""  # the lines of several processes would mix
    try:
        outcome = enhance_file(enhancer, job, settings, label)
    except FeatnormError as error:
        say(f"failed: {error}")
        return Outcome("failed", reason=str(error))
    mark_done(job.target, {**request, "noise": job.noise is not None})
    return outcome


def enhance_set(
    settings: Settings, wav_scp: Path, output: Path, shard: tuple[int, int] = (1, 1)
) -> None:
    """Enhance every n-th utterance of an scp into ``output/wav/<utterance>.wav`` (int16).

    What is done is not done again. With one shard, or by ``list_enhanced`` after all,
    ``output/spk1.scp`` lists the files.

    Args:
        settings: the model and how.
        wav_scp: noisy utterances, 16 kHz mono: files or places in archives.
        output: folder to write to.
        shard: (k, n): every n-th utterance from the k-th on.

    Raises:
        FeatnormError: the model or an utterance cannot be read; the set is not gone on with.
    """
    entries, how = read_scp(wav_scp), settings.request()
    versions = deciding_versions()
    mixed = 0
    index, shards = shard
    keys = sorted(entries)[index - 1 :: shards]
    for key in progress(keys, f"enhancing, shard {index}/{shards}", unit="utterance"):
        job = Job(Path(entries[key]), output / "wav" / f"{key}.wav")
        request = {**how, "source": stamp([job.source])}
        if not _is_done(job, {**request, "versions": versions}):
            mixed += _is_done(job, request)
            enhancer, noisy = load_once(settings), read_audio(entries[key], SAMPLE_RATE)
            write_audio(job.target, enhancer(noisy, windowing=settings), SAMPLE_RATE)
            mark_done(job.target, {**request, "versions": versions})
    if mixed:
        say(
            f"note: {output}: {mixed} utterances that other versions of torch, ESPnet or s3prl had"
            " enhanced were enhanced again: a set is of one environment"
        )
    if shards == 1:
        list_enhanced(entries, output)


def _is_done(job: Job, request: dict[str, object]) -> bool:
    return all(path.exists() for path in job.outputs) and is_done(job.target, request)


@lru_cache(maxsize=1)
def load_once(settings: Settings) -> Enhancer:
    """Load a model at the first file of a process and keep it for the others."""
    enhancer = Enhancer.from_pretrained(
        settings.model,
        settings.device,
        settings.model_file,
        settings.precision,
        settings.atten_lim,
        settings.high_band,
    )
    if settings.precision == "bf16" and not has_bf16(enhancer.device):
        say("warning: this processor has no bfloat16, computing in float32")
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
    frames, rate = source.header.frames, source.header.samplerate
    signal = Signal(
        resampled_length(frames, rate, SAMPLE_RATE),
        source.header.channels,
        lambda: resample_blocks(source.blocks(), rate, SAMPLE_RATE),
    )
    pieces = enhance_signal(enhancer, signal, windowing, label)
    whole = to_own_rate(pieces, signal, source.blocks, rate, frames, enhancer.high_band)
    with ExitStack() as stack:
        outputs = [stack.enter_context(audio_output(job.target, source))]
        if job.noise is not None:
            outputs.append(stack.enter_context(audio_output(job.noise, source)))
            original = stack.enter_context(open_audio(job.source))
        for speech in whole:
            outputs[0].write(speech)
            if job.noise is not None:
                noisy = original.read(len(speech), dtype="float32", always_2d=True)
                outputs[1].write(noisy - speech)
    clipped = sum(output.clipped for output in outputs)
    if clipped:
        say(f"warning: {job.target}: {clipped} samples beyond full scale were clipped")
    return Outcome("enhanced", frames / rate)
