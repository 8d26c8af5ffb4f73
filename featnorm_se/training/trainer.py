"""ESPnet's trainer: epochs that say what goes wrong in them, checkpoints that a kill cannot cut."""

import argparse
import contextlib
import dataclasses
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import torch
from espnet2.main_funcs.average_nbest_models import average_nbest_models
from espnet2.train.distributed_utils import DistributedOption
from espnet2.train.trainer import Trainer, TrainerOptions
from espnet2.utils.build_dataclass import build_dataclass

from featnorm_se.data.parallel import ahead
from featnorm_se.errors import FeatnormError, say
from featnorm_se.files import stamp
from featnorm_se.model.recorded import Recorder
from featnorm_se.training import record
from featnorm_se.training.whole_step import WholeStep
from featnorm_se.upstream.batching import may_hold_silence

Batch = tuple[list[str], dict[str, torch.Tensor]]
# Batches to be ready: ESPnet's chunks come in bursts of `num_cache_chunks`, and then none for long.
AHEAD = 32
AHEAD_BYTES = 2**28  # that they may take, but for two


@dataclasses.dataclass
class FeatNormOptions(TrainerOptions):
    """ESPnet's options and ``max_bad_steps``: see :class:`WatchedBatches`."""

    max_bad_steps: int


class FeatNormTrainer(Trainer):
    """ESPnet's trainer; what goes wrong in an epoch names its utterances.

    ESPnet seeds everything random anew at each epoch, so the checkpoint at an epoch's end needs
    no random states: an epoch that was cut is done again in the same order with the same draws.
    """

    files: ClassVar[list[str]] = []  # the recordings; of many, 200 to 400 are looked at
    _stamps: ClassVar[dict[str, str]] = {}

    @classmethod
    def build_options(cls, args: argparse.Namespace) -> FeatNormOptions:
        """Return the options that ``run`` takes."""
        return build_dataclass(FeatNormOptions, args)

    @staticmethod
    def resume(checkpoint: str | Path, **parts: Any) -> None:
        """Go on after a checkpoint, as ESPnet does but for the reading, which runs no code.

        Raises:
            FeatnormError: the checkpoint is not whole.
        """
        states = record.read_checkpoint(Path(checkpoint))
        parts["model"].load_state_dict(states["model"])
        parts["reporter"].load_state_dict(states["reporter"])
        for kind in ("optimizers", "schedulers"):
            for part, state in zip(parts[kind], states[kind], strict=True):
                if part is not None:  # there may be no scheduler
                    part.load_state_dict(state)

    @classmethod
    def run(cls, *, trainer_options: FeatNormOptions, **parts: Any) -> None:
        """Train to the end; on one GPU, steps of one shape are recorded."""
        separator = parts["model"].separator
        cls._stamps = {file: stamp([file]) for file in cls.files[:: len(cls.files) // 200 or 1]}
        own_stream: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()
        distributed = parts["distributed_option"].distributed
        if trainer_options.ngpu == 1 and not distributed and separator.upstream.fast:
            torch.cuda.synchronize()
            own_stream = torch.cuda.stream(torch.cuda.Stream())
            separator.recorder = Recorder()
        with own_stream:
            super().run(trainer_options=trainer_options, **parts)
        separator.recorder = None
        if _is_first(parts["distributed_option"]):
            _average_anew(trainer_options)
            record.end_saving(Path(trainer_options.output_dir))

    @classmethod
    def train_one_epoch(
        cls, *, iterator: Iterable[Batch], options: FeatNormOptions, **parts: Any
    ) -> bool:
        """Train for one epoch; return False, ESPnet's word for steps that were valid.

        Raises:
            FeatnormError: no batch, or losses or gradients that are not finite.
        """
        if _is_first(parts["distributed_option"]):
            record.end_saving(Path(options.output_dir))
        for optimizer in parts["optimizers"]:  # of steps after the last epoch's last update
            optimizer.zero_grad()
        watched = WatchedBatches(
            iterator, parts["reporter"], parts["model"], options.max_bad_steps, options.accum_grad
        )
        if options.ngpu:
            copies, computes = torch.cuda.Stream(), torch.cuda.current_stream()
            if copies == computes:  # torch hands out 32 streams in turn
                copies = torch.cuda.Stream()
            watched.streams = (copies, computes)
        separator = watched._separator()
        is_recorded = separator.recorder is not None
        if is_recorded:  # as a whole where there is a way, else the separator alone
            step = WholeStep(parts["model"], options.accum_grad)
            if step.has_way:
                parts["model"], separator.recorder = step, None
        whole = parts["model"].register_forward_hook(_apart)
        invalid = super().train_one_epoch(iterator=watched, options=options, **parts)
        whole.remove()
        if invalid:
            if watched.step < options.accum_grad:
                once = f"once in accum_grad ({options.accum_grad}) steps: lower accum_grad"
                fault = f"an epoch has {watched.step} steps, and the weights are moved {once}"
                raise FeatnormError(fault)
            fault = f"no step of {watched.place()} had a finite gradient"
            raise FeatnormError(f"{fault}: lower optim_conf.lr, or look at the recordings")
        if _is_first(parts["distributed_option"]) and parts["reporter"].get_epoch() == 1:
            _look_at_warmup(parts["schedulers"], watched.step // options.accum_grad, options)
        # The next epoch's seed and other lengths would take the dropout's state and the Fourier
        # plans from under a recording; and the validation gets its memory. So `step` dies here too.
        if is_recorded:
            separator.recorder = Recorder()
        return False

    @classmethod
    def validate_one_epoch(
        cls, *, iterator: Iterable[Batch], options: FeatNormOptions, **parts: Any
    ) -> None:
        """Validate once, right before ESPnet saves.

        Raises:
            FeatnormError: no batch, a loss that is not finite, or recordings made anew meanwhile.
        """
        watched = WatchedBatches(iterator, parts["reporter"], parts["model"], max_bad_steps=1)
        super().validate_one_epoch(iterator=watched, options=options, **parts)
        if _is_first(parts["distributed_option"]):
            if other := next((f for f, was in cls._stamps.items() if stamp([f]) != was), None):
                fault = f"recordings, such as {other}, were written anew or moved meanwhile"
                raise FeatnormError(f"{fault}: the epoch is not kept, train under another --tag")
            record.begin_saving(Path(options.output_dir))


def _apart(model: Any, args: Any, found: Any) -> Any:
    """Part what is reported from the loss, which ESPnet divides by ``accum_grad`` in its place."""
    loss, stats, weight = found
    return loss, {k: v if v is None else v.clone() for k, v in stats.items()}, weight


def _look_at_warmup(schedulers: Iterable[Any], steps: int, options: TrainerOptions) -> None:
    """Warn of a training that ends while its rate still rises; ``steps``: of an epoch."""
    whole = steps * (options.max_epoch or 0)
    for scheduler in schedulers:
        warmup = int(getattr(scheduler, "warmup_steps", 0))
        if 0 < whole < warmup:
            fault = f"{whole} steps, within the warm-up of {warmup}"
            mend = f"--set scheduler_conf.warmup_steps={max(whole // 10, 1)}, say"
            say(f"warning: training ends after {fault}: its rate stays below the one set: {mend}")


@dataclasses.dataclass
class WatchedBatches:
    """An epoch's batches; between two of them it looks at what became of the last.

    ESPnet skips a step whose gradient is not finite and goes on; here that ends after
    ``max_bad_steps`` such steps in a row.

    Attributes:
        batches: ESPnet's iterator.
        reporter: ESPnet's ``SubReporter`` of the epoch, which has the losses.
        model: its separator hears of silence in a batch while no GPU has to be waited for.
        max_bad_steps: so many steps without a finite loss and gradient in a row are too many;
            0: never. In validation one is.
        accum_grad: steps between two updates; there is a gradient norm only at an update.
        streams: of a GPU: one to bring the next batches there in, while the other computes.
        step: how many batches it has given.
        last: the utterances of the last of them.
    """

    batches: Iterable[Batch]
    reporter: Any
    model: Any
    max_bad_steps: int = 0
    accum_grad: int = 1
    streams: tuple[torch.cuda.Stream, torch.cuda.Stream] | None = None
    step: int = 0
    last: list[str] = dataclasses.field(default_factory=list)

    def __len__(self) -> int:
        return len(self.batches)  # type: ignore[arg-type]  # its TypeError is what is wanted

    def __iter__(self) -> Iterator[Batch]:
        bad = 0
        separator = self._separator()
        ready = map(self._ready, self.batches)
        for ids, batch, has_silence in ahead(ready, _how_many) if self.streams else ready:
            self.last = list(ids)
            self.step += 1
            separator.has_silence = has_silence
            yield ids, dict(batch)  # ESPnet adds to it
            separator.has_silence = True
            what = self._not_finite()
            # Between two updates there is no gradient to look at: that ends no count.
            bad = bad + 1 if what else bad * bool(self.step % self.accum_grad)
            if what and bad == self.max_bad_steps:
                steps = f"{bad} steps in a row, the last in " if bad > 1 else ""
                fault = f"the {what} was not finite in {steps}{self.place()}"
                raise FeatnormError(f"{fault}: {_mend(self.last, batch)}")
        if not self.step:
            raise FeatnormError(
                f"the {self.reporter.key} set gives no batch: an epoch has fewer pieces than"
                " batch_size (take --set batch_size=1, or a larger num_iters_per_epoch), or all its"
                " utterances are shorter than chunk_length (then chunk_discard_short_samples=false)"
            )

    def _ready(self, found: Batch) -> tuple[list[str], dict[str, torch.Tensor], bool]:
        """Return a batch, on the GPU if it is for one, and whether it may hold silence."""
        ids, batch = found
        lengths = batch.get("speech_mix_lengths")
        if lengths is not None and int(lengths.min()) == batch["speech_mix"].shape[1]:
            # ESPnet makes them anew on the CPU, where reading them waits for no GPU.
            batch = {name: x for name, x in batch.items() if not name.endswith("_lengths")}
        has_silence = may_hold_silence(batch["speech_mix"], self._separator().stft[1])
        if self.streams is not None:
            copies, computes = self.streams
            torch.cuda.set_device(copies.device)  # a thread begins with the first GPU
            with torch.cuda.stream(copies):
                pinned = ((name, x.pin_memory()) for name, x in batch.items())
                batch = {name: x.to(copies.device, non_blocking=True) for name, x in pinned}
            copies.synchronize()
            for x in batch.values():  # so that its memory is not used anew too soon
                x.record_stream(computes)
        return ids, batch, has_silence

    def _separator(self) -> Any:
        return getattr(self.model, "module", self.model).separator  # DDP wraps it

    def place(self) -> str:
        """Return the epoch, the step and the utterances it is at, for a message."""
        part = "validation " if self.reporter.key == "valid" else ""
        utterances = ", ".join(self.last)
        return f"epoch {self.reporter.get_epoch()}, {part}step {self.step} ({utterances})"

    def _not_finite(self) -> str:
        idle = self.reporter.key == "valid" or self.step % self.accum_grad
        names = ["loss"] if idle else ["loss", "grad_norm"]
        for name in names:
            values = self.reporter.stats.get(name)
            if not values or not math.isfinite(float(values[-1].value)):
                return name
        return ""


def _mend(ids: list[str], batch: dict[str, torch.Tensor]) -> str:
    bad = [k for n, k in enumerate(ids) if not all(x[n].isfinite().all() for x in batch.values())]
    if bad:
        return f"the recordings of {', '.join(bad)} hold NaN or inf: mend or remove them"
    return "lower optim_conf.lr or grad_clip, or set separator_conf.precision=float32"


def _how_many(first: tuple[Any, dict[str, torch.Tensor], bool]) -> int:
    """Return how many batches are to be ready, by the first one's size."""
    return max(2, min(AHEAD, AHEAD_BYTES // sum(x.nbytes for x in first[1].values())))


def _average_anew(options: FeatNormOptions) -> None:
    """Write each average of epochs by a call of its own, where ESPnet's one call wrote several.

    It adds up in the weights of the first epoch, which it keeps for the averages to come.
    """
    numbers = options.keep_nbest_models
    numbers = [numbers] if isinstance(numbers, int) else sorted(numbers)
    if len(numbers) * len(options.best_model_criterion) < 2:
        return
    folder = Path(options.output_dir)
    reporter = record.read_reporter(folder / record.CHECKPOINT)
    for criterion in options.best_model_criterion:
        for number in numbers:  # the largest that there are epochs for is `ave.pth`
            if number <= reporter.get_epoch():
                average_nbest_models(folder, reporter, [criterion], number)


def _is_first(option: DistributedOption) -> bool:
    """Whether this process is the one that saves."""
    return not option.distributed or option.dist_rank == 0
