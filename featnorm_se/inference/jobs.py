"""All files of a plan through a model; what is done already is left alone.

``featnorm-se enhance`` takes anything and goes on after a bad file; stage 4 takes utterances of an
scp and lists them only when all are there.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from featnorm_se.collection import deciding_versions, part_versions
from featnorm_se.config import hash_model
from featnorm_se.data.audio import (
    FloatArray,
    audio_info,
    open_audio,
    read_audio,
    resample_blocks,
    resampled_length,
    write_audio,
)
from featnorm_se.data.parallel import Beside, Result, beside, parallel_map
from featnorm_se.data.scp import read_scp, write_scp
from featnorm_se.errors import FeatnormError, say
from featnorm_se.files import is_done, locked, mark_done, remove_temporary, sha256_file, stamp
from featnorm_se.inference.audio_stream import AudioInput, audio_output
from featnorm_se.inference.enhancer import Enhancer, choose_device
from featnorm_se.inference.high_band import to_own_rate
from featnorm_se.inference.long_signal import Signal, enhance_signal
from featnorm_se.inference.model_file import CONFIG, count_talkers, find_weights
from featnorm_se.inference.plan import Job, Outcome
from featnorm_se.inference.together import enhance_signals
from featnorm_se.inference.windows import Windowing
from featnorm_se.names import SAMPLE_RATE, check_decoding
from featnorm_se.progress import progress
from featnorm_se.upstream.precision import has_bf16

Found = tuple[int, Iterable[FloatArray]]  # a file's number, and what the model made of it


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

    def __post_init__(self) -> None:
        super().__post_init__()
        check_decoding(self.precision, self.atten_lim, self.high_band)

    def _weights(self) -> Path:
        path = Path(self.model)
        return find_weights(path, self.model_file) if path.is_dir() else path

    def request(self) -> dict[str, object]:
        """Return what the output depends on, to be compared between runs."""
        model = sha256_file(file) if (file := self._weights()).is_file() else self.model
        # The batch, the device and TF32 change rounding only.
        how = asdict(self) | {"model": model, "bf16": self.precision == "bf16"}
        config = Path(self.model, CONFIG)
        how |= {"config": hash_model(config)} if config.is_file() else {}
        without = ("model_file", "device", "batch", "precision")
        return {key: value for key, value in how.items() if key not in without}


def enhance_into_folder(
    jobs: Sequence[Job], output: Path, settings: Settings, nj: int, overwrite: bool
) -> list[Outcome]:
    """Enhance files into a folder, ``output``; a bad one does not stop the others.

    What is done already is left alone, unless ``overwrite`` is set. Each of ``nj`` processes has
    its own copy of the model. Returns one outcome a job.

    Raises:
        FeatnormError: a target is there and was made by somebody else, by another model or with
            other options; the model cannot be loaded, or a process died.
    """
    request = settings.request()
    with locked(output / "enhance", named=output):
        for folder in {job.target.parent for job in jobs}:
            remove_temporary(folder)
        for job in [] if overwrite else jobs:
            for path in job.outputs:
                made = {**request, "from": os.path.abspath(job.source)}
                made |= {"noise": True} if path == job.noise else {}
                if path.exists() and not is_done(job.target, made):
                    fault = f"{path} was not made by this version from {job.source} with this model"
                    mend = "name another --output, or give --overwrite"
                    raise FeatnormError(f"{fault} and these options: {mend}")
        work = partial(_enhance_unless_done, settings, request, nj == 1, overwrite)
        # On a GPU a process gets many at a time, to take several of like length at once.
        many = 1 if choose_device(settings.device).type == "cpu" else 64
        groups = [jobs[start : start + many] for start in range(0, len(jobs), many)]
        found = parallel_map(work, groups, nj, "enhancing", "file" if many == 1 else "batch")
        return [outcome for outcomes in found for outcome in outcomes]


def _enhance_unless_done(
    settings: Settings, how: dict[str, object], alone: bool, overwrite: bool, jobs: list[Job]
) -> list[Outcome]:
    outcomes: list[Outcome] = []
    todo: list[tuple[Job, dict[str, object], AudioInput]] = []
    for job in jobs:
        place = os.path.abspath(job.source)  # the same for x, ./x and $PWD/x
        request = {**how, "from": place, "source": stamp([place])}
        if not overwrite and _is_done(job, request):
            outcomes.append(Outcome("skipped"))
            continue
        try:
            todo.append((job, request | {"noise": job.noise is not None}, AudioInput(job.source)))
        except FeatnormError as error:
            outcomes.append(_failed(error))
    if not todo:
        return outcomes
    enhancer, signals = load_once(settings), [_signal(source) for _, _, source in todo]
    label = jobs[0].source.name if alone and len(jobs) == 1 else ""  # lines would mix

    def write(found: Found) -> Outcome:
        job, request, source = todo[found[0]]
        try:
            # If the run ends before the last line, the file is known as one made here, not as done.
            begun = {k: v for k, v in request.items() if k != "source"}
            mark_done(job.target, begun | {"bytes": None})
            outcome = _write(enhancer, job, source, found[1])
            mark_done(job.target, request)
        except FeatnormError as error:
            return _failed(error)
        return outcome

    with beside(enhancer.device.type) as run:
        done = enhance_signals(enhancer, signals, settings, label, run)
        return outcomes + _finish(run, write, done)


def _failed(error: FeatnormError) -> Outcome:
    say(f"failed: {error}")
    return Outcome("failed", reason=str(error))


def _finish(run: Beside, write: Callable[[Found], Result], done: Iterable[Found]) -> list[Result]:
    """Write what is enhanced while the next is; what still needs the model, right here."""
    results: list[Result] = []
    writing: deque[Iterable[Result]] = deque()
    for found in done:
        writing.append(run(write, [found]) if isinstance(found[1], list) else [write(found)])
        if len(writing) > 16:  # what waits holds memory, and may have failed
            results += writing.popleft()
    return results + [outcome for outcomes in writing for outcome in outcomes]


def enhance_set(
    settings: Settings, wav_scp: Path, output: Path, shard: tuple[int, int] | None = (1, 1)
) -> None:
    """Enhance every n-th utterance of an scp into ``output/wav/<utterance>.wav``.

    They are int16, those of float files float. What is done is not done again. With one shard, or
    without any after all, ``output/spk1.scp`` lists the files. Of two talkers there are
    ``<utterance>_spk1.wav`` and ``<utterance>_spk2.wav``, and ``spk2.scp``.

    Args:
        settings, output: the model and how; where ``wav`` and the lists go.
        wav_scp: noisy utterances, 16 kHz mono: files or places in archives.
        shard: (k, n): every n-th utterance from the k-th on; ``None``: only list them.

    Raises:
        FeatnormError: the model or an utterance cannot be read; the set is not gone on with. Or
            one to list is missing, or was made by a run with other settings.
    """
    entries, talkers = read_scp(wav_scp), count_talkers(settings.model)
    # A set is of one environment: what another one has enhanced is enhanced again.
    how = {**settings.request(), "versions": deciding_versions(part_versions())}
    wav = output / "wav"
    jobs = {k: Job.of(Path(entries[k]), wav / f"{k}.wav", talkers) for k in sorted(entries)}
    if shard:
        _enhance_shard(settings, how, list(jobs.values()), shard)
    if shard is None or shard[1] == 1:
        if missing := [key for key, job in jobs.items() if not _is_done(job, how)]:
            fault = f"utterances were not enhanced with this model and these settings, {missing[0]}"
            raise FeatnormError(f"{len(missing)} of {len(jobs)} {fault} first: run stage 4 again")
        if talkers == 1:  # of an earlier model that parted two
            (output / "spk2.scp").unlink(missing_ok=True)
        for n in range(talkers):
            files = {key: os.path.abspath(job.outputs[n]) for key, job in jobs.items()}
            write_scp(output / f"spk{n + 1}.scp", files)


def _enhance_shard(
    settings: Settings, how: dict[str, object], jobs: list[Job], shard: tuple[int, int]
) -> None:
    (index, shards), file = shard, settings._weights()
    weights = os.path.relpath(file, settings.model) if Path(settings.model).is_dir() else file.name
    todo: list[tuple[Job, dict[str, object]]] = []
    signals: list[Signal] = []
    for job in jobs[index - 1 :: shards]:
        header = audio_info(job.source)
        request = {**how, "source": stamp([job.source])}
        request |= {"subtype": "FLOAT"} if header.is_float else {}  # int16 may not hold its levels
        if not _is_done(job, request):
            todo.append((job, request))
            signals.append(Signal(header.frames, 1, partial(_read, job)))
    if not todo:
        return

    def write(found: Found) -> None:
        job, request = todo[found[0]]
        speech = np.concatenate([*found[1]]).T
        mark_done(job.target, {})  # what is there is of other settings, and goes
        for path, y in zip(job.outputs, speech, strict=True):
            write_audio(path, y, SAMPLE_RATE, str(request.get("subtype", "PCM_16")))
        mark_done(job.target, {**request, "weights": weights})

    enhancer, label = load_once(settings), f"enhancing, shard {index}/{shards}"
    with beside(enhancer.device.type) as run:
        done = enhance_signals(enhancer, signals, settings, run=run)
        _finish(run, write, progress(done, label, len(todo), unit="utterance"))


def _read(job: Job) -> Iterator[FloatArray]:
    yield read_audio(job.source, SAMPLE_RATE)[:, None]


def _is_done(job: Job, request: dict[str, object]) -> bool:
    return all(path.exists() for path in job.outputs) and is_done(job.target, request)


@lru_cache(maxsize=1)
def load_once(settings: Settings) -> Enhancer:
    """Load a model at the first file of a process and keep it for the others."""
    how = settings.precision, settings.atten_lim, settings.high_band
    enhancer = Enhancer.from_pretrained(settings.model, settings.device, settings.model_file, *how)
    if settings.precision == "bf16" and not has_bf16(enhancer.device):
        say("warning: this CPU has no bfloat16, computing in float32")
    return enhancer


def enhance_file(
    enhancer: Enhancer, job: Job, windowing: Windowing | None = None, label: str = ""
) -> Outcome:
    """Enhance a file into another, in blocks; memory does not grow with its length.

    The file to write (one a talker) has the same rate, length, channels and sample format, and is
    there whole or not at all. The noise is what was taken away from all of it. ``label``: show how
    far a long file is, under this name.

    Raises:
        FeatnormError: the source is cut short or holds NaN, or a target cannot be written.
    """
    source = AudioInput(job.source)
    pieces = enhance_signal(enhancer, _signal(source), windowing, label)
    return _write(enhancer, job, source, pieces)


def _signal(source: AudioInput) -> Signal:
    """Return a file's signal at 16 kHz."""
    rate = source.header.samplerate
    return Signal(
        resampled_length(source.header.frames, rate, SAMPLE_RATE),
        source.header.channels,
        lambda: resample_blocks(source.blocks(), rate, SAMPLE_RATE),
    )


def _write(
    enhancer: Enhancer, job: Job, source: AudioInput, pieces: Iterable[FloatArray]
) -> Outcome:
    """Write what the model made of a file, at 16 kHz, as ``enhance_file`` says."""
    frames, rate = source.header.frames, source.header.samplerate
    high_band, clipped = enhancer.high_band, 0
    whole = to_own_rate(pieces, _signal(source), source.blocks, rate, frames, high_band)
    with ExitStack() as stack:
        # Renamed in the other order: that with the record first.
        outputs = [stack.enter_context(audio_output(p, source)) for p in job.outputs[::-1]][::-1]
        if job.noise is not None:
            original = stack.enter_context(open_audio(job.source))
        for speech in whole:
            each = np.split(speech, speech.shape[1] // source.header.channels, axis=1)
            if job.noise is not None:
                noisy = original.read(len(speech), dtype="float32", always_2d=True)
                each.append(noisy - sum(each))
            clipped += sum(write(y) for write, y in zip(outputs, each, strict=True))
    if clipped:
        say(f"warning: {job.target}: {clipped} samples beyond full scale were clipped")
    return Outcome("enhanced", frames / rate)
