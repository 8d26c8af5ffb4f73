"""What a pre-training's YAML says."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from featnorm_se.config import parse_config
from featnorm_se.errors import FeatnormError

LONGEST_SECONDS = 29.0  # s3prl's masking stops at 3000 frames


@dataclass(frozen=True)
class Plan:
    """What the training YAML says.

    Attributes:
        objective: s3prl's ``task`` keys, see ``model.OBJECTIVE``.
        piece_seconds: longest piece of speech.
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
        bf16: whether the network runs under bfloat16 autocast.
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
        FeatnormError: it cannot be read, or a key is unknown, missing or out of range.
    """
    from featnorm_se.pretraining.model import OBJECTIVE

    try:
        told = parse_config(path.read_bytes(), str(path))
    except OSError as error:
        raise FeatnormError(f"cannot read {path}: {error.strerror}") from error
    known = {field.name for field in fields(Plan)}
    if not isinstance(told, dict) or not told.keys() <= known:
        odd = sorted(set(told) - known) if isinstance(told, dict) else ["no keys"]
        raise FeatnormError(f"{path}: {', '.join(odd)}: the keys are {', '.join(sorted(known))}")
    objective = told.get("objective")
    if not isinstance(objective, dict) or set(objective) != set(OBJECTIVE):
        raise FeatnormError(f"{path}: objective needs the keys {', '.join(OBJECTIVE)}, no others")
    lengths = told.get("crop_seconds", Plan.crop_seconds)
    if not isinstance(lengths, list | tuple) or not lengths:
        raise FeatnormError(f"{path}: crop_seconds is {lengths!r}, a list of lengths is wanted")
    if not all(isinstance(length, int | float) and length >= 0.5 for length in lengths):
        raise FeatnormError(f"{path}: crop_seconds is {lengths!r}: half a second at least")
    plan = Plan(**(told if steps is None else told | {"steps": steps}))
    for name, value in asdict(plan).items():
        least = 0 if name in ("steps", "warmup", "weight_decay", "dropout") else 1e-12
        free = name in ("objective", "bf16", "crop_seconds") or (
            name == "dropout" and value is None
        )
        if not free and (not isinstance(value, int | float) or value < least):
            raise FeatnormError(f"{path}: {name} is {value!r}, a positive number is wanted")
    if plan.piece_seconds > LONGEST_SECONDS:
        raise FeatnormError(f"{path}: piece_seconds is more than s3prl's masking takes, 29 s")
    if not plan.objective["mask_proportion"] > 0:
        raise FeatnormError(f"{path}: mask_proportion must be above 0: nothing would be learnt")
    if plan.objective["loss"] not in ("L1", "MSE"):
        raise FeatnormError(f"{path}: loss is {plan.objective['loss']!r}: L1 or MSE is wanted")
    return plan
