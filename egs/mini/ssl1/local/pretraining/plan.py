"""What a pre-training's YAML says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featnorm_se.config import read_config
from featnorm_se.errors import FeatnormError

# s3prl's words for the objective, of which the official checkpoints keep theirs too.
OBJECTIVE = (
    "loss",
    "mask_proportion",
    "mask_consecutive_min",
    "mask_consecutive_max",
    "mask_allow_overlap",
    "mask_bucket_ratio",
    "mask_frequency",
    "noise_proportion",
)


@dataclass(frozen=True)
class Plan:
    """What the training YAML says.

    Attributes:
        objective: s3prl's ``task`` keys, the keys of ``OBJECTIVE``.
        piece_seconds: longest piece of speech; s3prl's masking stops at 3000 frames, 30 s.
        crop_seconds: lengths of what is drawn from the pieces, one of them a step. A model that
            heard only short crops fails at the positions beyond, so the longest is a piece's.
        batch_seconds: of all crops of a step together.
        steps: of the optimizer.
        interval: steps between validation, curve row and saved state.
        lr: highest learning rate of AdamW.
        warmup: part of the steps in which it rises; then it falls to 0 in a line.
        weight_decay: of weights; biases and layer norms have none.
        grad_clip: norm of the gradient.
        dropout: of hidden states and attention while pre-training; ``None``: the card's.
        valid_share: part of the speech, by whole speakers, that is held out.
        bf16: bfloat16 autocast, on a device that computes in it; elsewhere float32.
    """

    objective: dict[str, Any]
    piece_seconds: float = 10.0
    crop_seconds: tuple[float, ...] = (1.25, 2.5, 5.0, 10.0)
    batch_seconds: float = 20.0
    steps: int = 2000
    interval: int = 100
    lr: float = 1e-3
    warmup: float = 0.07
    weight_decay: float = 0.01
    grad_clip: float = 5.0
    dropout: float | None = None
    valid_share: float = 0.05
    bf16: bool = False


def read_plan(path: Path, steps: int | None = None) -> Plan:
    """Read a training YAML; ``steps`` goes over the one in it.

    Raises:
        FeatnormError: it cannot be read, or a key is unknown or missing.
    """
    values = read_config(path)
    if steps is not None:
        values["steps"] = steps
    try:
        plan = Plan(**values)
    except TypeError as error:
        raise FeatnormError(f"{path}: {error}") from error
    if set(plan.objective) != set(OBJECTIVE):
        raise FeatnormError(f"{path}: objective needs the keys {', '.join(OBJECTIVE)}, no others")
    return plan
