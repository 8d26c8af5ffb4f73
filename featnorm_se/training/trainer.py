"""ESPnet's trainer: watched epochs, and a run that was killed goes on to the same weights."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from espnet2.train.distributed_utils import DistributedOption
from espnet2.train.trainer import Trainer, TrainerOptions
from espnet2.utils.build_dataclass import build_dataclass

from featnorm_se.training.checkpoints import epochs_to_do
from featnorm_se.training.watch import train_epoch, validate_epoch


@dataclasses.dataclass
class FeatNormOptions(TrainerOptions):
    """ESPnet's options and ``max_bad_steps``: see :class:`~.watch.WatchedBatches`."""

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

    @classmethod
    def run(
        cls,
        *,
        trainer_options: FeatNormOptions,
        distributed_option: DistributedOption,
        **parts: Any,
    ) -> None:
        """Train to the end, after mending what a kill has left undone."""
        if trainer_options.resume:
            first = not distributed_option.distributed or distributed_option.dist_rank == 0
            trainer_options.max_epoch = epochs_to_do(trainer_options, mend=first)
        super().run(trainer_options=trainer_options, distributed_option=distributed_option, **parts)

    @classmethod
    def train_one_epoch(cls, options: FeatNormOptions, **parts: Any) -> bool:
        """Train for one epoch; see ``train_epoch`` for what it raises."""
        epoch = super().train_one_epoch
        return train_epoch(epoch, options.max_bad_steps, options=options, **parts)

    @classmethod
    def validate_one_epoch(cls, **parts: Any) -> None:
        """Validate once; see ``validate_epoch`` for what it raises."""
        validate_epoch(super().validate_one_epoch, **parts)
