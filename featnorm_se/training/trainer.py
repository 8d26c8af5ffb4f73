"""ESPnet's trainer: epochs that say what goes wrong in them, checkpoints that a kill cannot cut."""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from espnet2.train.distributed_utils import DistributedOption
from espnet2.train.trainer import Trainer, TrainerOptions
from espnet2.utils.build_dataclass import build_dataclass

from featnorm_se.errors import FeatnormError
from featnorm_se.names import SAMPLE_RATE
from featnorm_se.training.checkpoints import begin_saving, end_saving, read_checkpoint

Batch = tuple[list[str], dict[str, torch.Tensor]]


@dataclasses.dataclass
class FeatNormOptions(TrainerOptions):
    """ESPnet's options and ``max_bad_steps``: see :class:`WatchedBatches`."""

    max_bad_steps: int


class FeatNormTrainer(Trainer):
    """ESPnet's trainer; what goes wrong in an epoch names its utterances.

    ESPnet seeds everything random anew at each epoch, so the checkpoint at an epoch's end needs
    no random states: an epoch that was cut is done again in the same order with the same draws.
    """

    @classmethod
    def build_options(cls, args: argparse.Namespace) -> FeatNormOptions:
        """Return the options that ``run`` takes."""
        return build_dataclass(FeatNormOptions, args)

    @staticmethod
    def resume(
        checkpoint: str | Path,
        model: torch.nn.Module,
        reporter: Any,
        optimizers: Sequence[torch.optim.Optimizer],
        schedulers: Sequence[Any],
        scaler: Any,
        ngpu: int = 0,
        strict: bool = True,
    ) -> None:
        """Go on after a checkpoint, as ESPnet does but for the reading, which runs no code.

        Raises:
            FeatnormError: the checkpoint is not whole.
        """
        states = read_checkpoint(Path(checkpoint))
        model.load_state_dict(states["model"], strict=strict)
        reporter.load_state_dict(states["reporter"])
        for optimizer, state in zip(optimizers, states["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        for scheduler, state in zip(schedulers, states["schedulers"], strict=True):
            if scheduler is not None:
                scheduler.load_state_dict(state)
        if scaler is not None and states["scaler"] is not None:
            scaler.load_state_dict(states["scaler"])

    @classmethod
    def run(cls, *, trainer_options: FeatNormOptions, **parts: Any) -> None:
        """Train to the end."""
        super().run(trainer_options=trainer_options, **parts)
        if _is_first(parts["distributed_option"]):
            end_saving(Path(trainer_options.output_dir))

    @classmethod
    def train_one_epoch(
        cls, *, iterator: Iterable[Batch], options: FeatNormOptions, **parts: Any
    ) -> bool:
        """Train for one epoch.

        Returns:
            Whether all steps were invalid: never, that raises.

        Raises:
            FeatnormError: no batch, memory that does not suffice, or losses or gradients that are
                not finite.
        """
        if _is_first(parts["distributed_option"]):
            end_saving(Path(options.output_dir))
        bad_steps = 0 if options.no_forward_run else options.max_bad_steps
        watched = WatchedBatches(iterator, parts["reporter"], bad_steps, options.accum_grad)
        invalid = _run(super().train_one_epoch, watched, "training", options=options, **parts)
        if invalid:
            raise FeatnormError(
                f"no step of {watched.place()} had a finite gradient: lower optim_conf.lr, or look"
                " at the recordings"
            )
        return False

    @classmethod
    def validate_one_epoch(
        cls, *, iterator: Iterable[Batch], options: FeatNormOptions, **parts: Any
    ) -> None:
        """Validate once, right before ESPnet saves.

        Raises:
            FeatnormError: no batch, or memory that does not suffice.
        """
        watched = WatchedBatches(iterator, parts["reporter"])
        _run(super().validate_one_epoch, watched, "validation", options=options, **parts)
        if _is_first(parts["distributed_option"]):
            begin_saving(Path(options.output_dir))


class WatchedBatches:
    """An epoch's batches; between two of them it looks at what became of the last.

    ESPnet skips a step whose gradient is not finite and goes on; here that ends after
    ``max_bad_steps`` such steps on end.

    Args:
        batches: ESPnet's iterator.
        reporter: ESPnet's ``SubReporter`` of the epoch, which has the losses.
        max_bad_steps: so many steps without a finite loss and gradient on end are too many;
            0: never.
        accum_grad: steps between two updates; there is a gradient norm only at an update.
    """

    def __init__(
        self,
        batches: Iterable[Batch],
        reporter: Any,
        max_bad_steps: int = 0,
        accum_grad: int = 1,
    ) -> None:
        self.batches = batches
        self.reporter = reporter
        self.max_bad_steps = max_bad_steps
        self.accum_grad = accum_grad
        self.steps = 0
        self.last: Batch = ([], {})
        self._bad = 0

    def __len__(self) -> int:
        return len(self.batches)  # type: ignore[arg-type]  # its TypeError is what is wanted

    def __iter__(self) -> Iterator[Batch]:
        for ids, batch in self.batches:
            self.last = (list(ids), dict(batch))  # ESPnet adds to its own
            self.steps += 1
            yield ids, batch
            if self.max_bad_steps:
                self._check_finite()

    def place(self) -> str:
        """Return the epoch, the step and the utterances it is at, for a message."""
        return f"epoch {self.reporter.get_epoch()}, step {self.steps} ({_few(self.last[0])})"

    def _check_finite(self) -> None:
        updated = self.steps % self.accum_grad == 0
        loss = self._latest("loss")
        gradient = self._latest("grad_norm") if updated else 0.0
        if math.isfinite(loss) and math.isfinite(gradient):
            self._bad = 0
            return
        self._bad += 1
        if self._bad < self.max_bad_steps:
            return
        ids, batch = self.last
        broken = [
            key
            for row, key in enumerate(ids)
            if not all(torch.isfinite(values[row]).all() for values in batch.values())
        ]
        mend = "lower optim_conf.lr or grad_clip, or train without use_amp"
        if broken:
            mend = f"the recordings of {_few(broken)} hold NaN or inf: mend or remove them"
        what = "gradient" if math.isfinite(loss) else "loss"
        raise FeatnormError(
            f"the {what} was not finite in {self._bad} steps on end, the last in {self.place()}:"
            f" {mend}"
        )

    def _latest(self, key: str) -> float:
        values = self.reporter.stats.get(key)
        return float(values[-1].value) if values else math.nan


def _run(run_epoch: Callable[..., Any], watched: WatchedBatches, what: str, **parts: Any) -> Any:
    try:
        result = run_epoch(iterator=watched, **parts)
    except (MemoryError, RuntimeError) as error:
        # The processor's allocator raises a plain RuntimeError.
        known = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not known and "allocate memory" not in str(error):
            raise
        raise FeatnormError(_out_of_memory(watched, what)) from error
    if watched.steps == 0:
        raise FeatnormError(
            f"the {what} set gives no batch: are there fewer pieces than batch_size, or are all"
            " utterances shorter than chunk_length (then set chunk_discard_short_samples: false)?"
        )
    return result


def _out_of_memory(watched: WatchedBatches, what: str) -> str:
    ids, batch = watched.last
    samples = max((values.shape[-1] for values in batch.values() if values.ndim > 1), default=0)
    mend = "--set batch_size=N or --set chunk_length=N"
    if what == "validation":
        mend = "--set valid_batch_size=1"
    return (
        f"out of memory in {what}, {watched.place()}: {len(ids)} signals of"
        f" {samples / SAMPLE_RATE:.2f} s in a batch; make it smaller ({mend}), or give"
        " --set separator_conf.gradient_checkpointing=true"
    )


def _is_first(option: DistributedOption) -> bool:
    """Whether this process is the one that saves."""
    return not option.distributed or option.dist_rank == 0


def _few(names: list[str], shown: int = 4) -> str:
    more = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {more} more" if more > 0 else "")
