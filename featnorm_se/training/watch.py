"""Watching an epoch: what goes wrong in it is said, with the utterances that it went wrong on."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch

from featnorm_se.errors import FeatnormError
from featnorm_se.names import SAMPLE_RATE
from featnorm_se.upstream.checkpoint import save_states

Batch = tuple[list[str], dict[str, torch.Tensor]]


class WatchedBatches:
    """An epoch's batches; between two of them it looks at what became of the last.

    ESPnet skips a step whose gradient is not finite and goes on; here that ends after
    ``max_bad_steps`` such steps on end, and the last batch is kept.

    Args:
        batches: ESPnet's iterator.
        reporter: ESPnet's ``SubReporter`` of the epoch, which has the losses.
        folder: where a bad batch is saved.
        max_bad_steps: so many steps without a finite loss and gradient on end are too many;
            0: never.
        accum_grad: steps between two updates; there is a gradient norm only at an update.
    """

    def __init__(
        self,
        batches: Iterable[Batch],
        reporter: Any,
        folder: Path,
        max_bad_steps: int = 0,
        accum_grad: int = 1,
    ) -> None:
        self.batches = batches
        self.reporter = reporter
        self.folder = folder
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
            self._check_not_empty()
            yield ids, batch
            if self.max_bad_steps:
                self._check_finite()

    def place(self) -> str:
        """Return the epoch, the step and the utterances it is at, for a message."""
        return f"epoch {self.reporter.get_epoch()}, step {self.steps} ({_few(self.last[0])})"

    def _check_not_empty(self) -> None:
        for name, values in self.last[1].items():
            if values.numel() == 0:
                raise FeatnormError(f"an empty batch in {self.place()}: {name} has no samples")

    def _check_finite(self) -> None:
        updated = self.steps % self.accum_grad == 0
        loss = _latest(self.reporter, "loss")
        gradient = _latest(self.reporter, "grad_norm") if updated else 0.0
        if math.isfinite(loss) and math.isfinite(gradient):
            self._bad = 0
            return
        self._bad += 1
        if self._bad >= self.max_bad_steps:
            raise FeatnormError(self._told_bad("gradient" if math.isfinite(loss) else "loss"))

    def _told_bad(self, what: str) -> str:
        ids, batch = self.last
        kept = self.folder / f"bad_batch{_rank_suffix()}.pt"
        save_states({"utt_id": ids, **batch}, kept)
        broken = [key for row, key in enumerate(ids) if not _finite_row(batch, row)]
        mend = "lower optim_conf.lr or grad_clip, or train without use_amp"
        if broken:
            mend = f"the recordings of {_few(broken)} hold NaN or inf: mend or remove them"
        return (
            f"the {what} was not finite in {self._bad} steps on end, the last in {self.place()}:"
            f" {mend}; the batch is in {kept}"
        )


def train_epoch(run_epoch: Callable[..., bool], max_bad_steps: int, **parts: Any) -> bool:
    """Run ESPnet's ``train_one_epoch`` and say what goes wrong in it.

    Args:
        run_epoch: the trainer's ``train_one_epoch``.
        max_bad_steps: see :class:`WatchedBatches`.
        **parts: its arguments.

    Returns:
        what it returns: whether all steps were invalid (never: that raises).

    Raises:
        FeatnormError: no batch, an empty one, memory that does not suffice, losses or
            gradients that are not finite, or no weight that moved.
    """
    options, reporter = parts["options"], parts["reporter"]
    watched = WatchedBatches(
        parts.pop("iterator"),
        reporter,
        Path(options.output_dir),
        max_bad_steps if not options.no_forward_run else 0,
        options.accum_grad,
    )
    before = _fingerprint(parts["model"])
    invalid = _run(run_epoch, watched, "training", parts)
    if options.no_forward_run:
        return invalid
    if invalid:
        raise FeatnormError(
            f"no step of {watched.place()} had a finite gradient: lower optim_conf.lr, or look at"
            " the recordings"
        )
    if before and watched.steps >= options.accum_grad and _fingerprint(parts["model"]) == before:
        raise FeatnormError(
            f"no weight moved in epoch {reporter.get_epoch()}, so the loss cannot: look at"
            " optim_conf.lr, the scheduler, grad_clip and what separator_conf.freeze leaves"
        )
    if reporter.get_epoch() == 1:
        _warn_of_a_flat_loss(reporter)
    return invalid


def validate_epoch(run_epoch: Callable[..., None], **parts: Any) -> None:
    """Run ESPnet's ``validate_one_epoch`` and say what goes wrong in it.

    Raises:
        FeatnormError: no batch, an empty one, or memory that does not suffice.
    """
    folder = Path(parts["options"].output_dir)
    watched = WatchedBatches(parts.pop("iterator"), parts["reporter"], folder)
    _run(run_epoch, watched, "validation", parts)


def _run(
    run_epoch: Callable[..., Any], watched: WatchedBatches, what: str, parts: dict[str, Any]
) -> Any:
    try:
        result = run_epoch(iterator=watched, **parts)
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        raise FeatnormError(_told_memory(watched, what)) from error
    if watched.steps == 0:
        raise FeatnormError(
            f"the {what} set gives no batch: are there fewer pieces than batch_size, or are all"
            " utterances shorter than chunk_length (then set chunk_discard_short_samples: false)?"
        )
    return result


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    # The processor's allocator raises a plain RuntimeError.
    return "allocate memory" in str(error)


def _told_memory(watched: WatchedBatches, what: str) -> str:
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


def _warn_of_a_flat_loss(reporter: Any) -> None:
    losses = [v.value for v in reporter.stats.get("loss", []) if math.isfinite(v.value)]
    half = len(losses) // 2
    if half < 50:  # too few to tell from their scatter
        return
    first, second = sum(losses[:half]) / half, sum(losses[-half:]) / half
    if second > 0.999 * first:
        logging.warning(
            f"The training loss did not move in the first epoch: {first:.5g} in its first half,"
            f" {second:.5g} in its second. Look at optim_conf.lr and the scheduler."
        )


def _latest(reporter: Any, key: str) -> float:
    values = reporter.stats.get(key)
    return float(values[-1].value) if values else math.nan


def _finite_row(batch: dict[str, torch.Tensor], row: int) -> bool:
    return all(
        bool(torch.isfinite(values[row]).all())
        for values in batch.values()
        if values.is_floating_point() and row < len(values)
    )


def _fingerprint(model: torch.nn.Module) -> list[tuple[float, float]]:
    """Return two numbers of every trained weight, which change when it does."""
    trained = (p.detach() for p in model.parameters() if p.requires_grad)
    return [(float(p.double().sum()), float(p.double().square().sum())) for p in trained]


def _rank_suffix() -> str:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return f".{torch.distributed.get_rank()}"
    return ""


def _few(names: list[str], shown: int = 4) -> str:
    more = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {more} more" if more > 0 else "")
