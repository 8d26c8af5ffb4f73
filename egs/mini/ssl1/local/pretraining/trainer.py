"""The pre-training run: steps that can be cut anywhere, a curve, an official-layout checkpoint."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from featnorm_se.collection import check_versions, part_versions
from featnorm_se.errors import FeatnormError
from featnorm_se.files import atomic_path, mark_done, read_json, write_json, write_text
from featnorm_se.progress import progress
from featnorm_se.upstream.checkpoint import read_checkpoint
from featnorm_se.upstream.mockingjay import MelUpstream
from featnorm_se.upstream.precision import computing
from pretraining.model import MaskedReconstruction, seeded
from pretraining.plan import Plan

_STATE = "state.pt"
_SETTINGS = "settings.json"
CURVE = "curve.csv"
FRAMES_A_SECOND = 100


class Trainer:
    """Pre-trains one model in a folder; the same call again goes on where a run was cut.

    Every step draws from its own number and the seed, so a run that was cut and one that was not
    end with the same bits (on the same number of threads).

    Args:
        folder: gets ``settings.json``, ``state.pt``, ``curve.csv`` and ``<upstream>.pt``.
        model: what is trained.
        upstream: its features and configuration.
        plan: the numbers.
        train, valid: features (T, D) of the pieces.
        settings: what tells this run from another; written beside, and compared when going on.
        seed: of everything random.

    Raises:
        FeatnormError: the folder holds another run, or its state cannot be read.
    """

    def __init__(
        self,
        folder: Path,
        model: MaskedReconstruction,
        upstream: MelUpstream,
        plan: Plan,
        train: Sequence[Tensor],
        valid: Sequence[Tensor],
        settings: Mapping[str, Any],
        seed: int,
    ) -> None:
        self.folder, self.model, self.upstream, self.plan = folder, model, upstream, plan
        self.train_set, self.valid_set, self.seed = train, valid, seed
        self.device = model.mean.device
        self.ends = np.cumsum([len(feature) for feature in train])
        decayed = [p for p in model.parameters() if p.dim() > 1]
        others = [p for p in model.parameters() if p.dim() <= 1]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": decayed, "weight_decay": plan.weight_decay},
                {"params": others, "weight_decay": 0.0},
            ],
            lr=plan.lr,
        )
        self.step = 0
        self.rows: list[dict[str, float]] = []
        self.settings: dict[str, Any] = json.loads(json.dumps(settings))  # as they are read again
        self._resume()

    def _resume(self) -> None:
        path = self.folder / _SETTINGS
        if not path.is_file():
            write_json(path, self.settings)
        known = read_json(path)
        keys = sorted(known.keys() | self.settings.keys())
        differing = [key for key in keys if known.get(key) != self.settings.get(key)]
        if differing:
            raise FeatnormError(
                f"{self.folder} holds a run with another {', '.join(differing)}: name another"
                " --expdir, or remove it"
            )
        if not (self.folder / _STATE).is_file():
            return
        state = read_checkpoint(self.folder / _STATE)
        mend = "name another --expdir"
        check_versions(state.get("versions", {}), str(self.folder), mend)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.rows = int(state["step"]), list(state["rows"])
        print(f"pretrain: going on after step {self.step}", file=sys.stderr, flush=True)

    def _save(self) -> None:
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "rows": self.rows,
            "versions": part_versions(),
        }
        _save(state, self.folder / _STATE)
        self.write_curve()

    def write_curve(self) -> None:
        """Write the rows known so far."""
        lines = ["step,train,valid,lr,seconds"]
        for row in self.rows:
            train = f"{row['train']:.6f}" if row["step"] else ""
            line = f"{row['step']:.0f},{train},{row['valid']:.6f},{row['lr']:.3e}"
            lines.append(f"{line},{row['seconds']:.1f}")
        write_text(self.folder / CURVE, "\n".join(lines) + "\n")

    def run(self) -> Path:
        """Train to the last step and write the checkpoint.

        Returns:
            The checkpoint in the official layout, ``<upstream>.pt``.

        Raises:
            FeatnormError: the loss is not finite, or the disk is full.
        """
        if not self.rows:
            row = {"train": 0.0, "valid": self.validate(), "lr": 0.0, "seconds": 0.0}
            self.rows.append({"step": 0.0} | row)
            self._save()
        began = time.monotonic() - self.rows[-1]["seconds"]
        losses: list[float] = []
        for _ in progress(range(self.step, self.plan.steps), "pre-training", unit="step"):
            losses.append(self._one_step())
            if self.step % self.plan.interval == 0 or self.step == self.plan.steps:
                row = {
                    "train": sum(losses) / len(losses),
                    "valid": self.validate(),
                    "lr": self.rate(self.step - 1),
                    "seconds": time.monotonic() - began,
                }
                self.rows.append({"step": float(self.step)} | row)
                losses = []
                self._save()
        return self._write_checkpoint()

    def rate(self, step: int) -> float:
        """Return the learning rate of a step (from 0): up in a line, down in a line."""
        rising = max(1, round(self.plan.warmup * self.plan.steps))
        falling = max(1, self.plan.steps - rising)
        share = min((step + 1) / rising, max(0.0, (self.plan.steps - step) / falling))
        return self.plan.lr * min(1.0, share)

    def _draw(self) -> list[Tensor]:
        """Draw crops of one length: anywhere in the speech, so that long pieces come more often."""
        rng = np.random.default_rng([self.seed, 1, self.step])
        seconds = self.plan.crop_seconds[int(rng.integers(len(self.plan.crop_seconds)))]
        crop, crops = round(seconds * FRAMES_A_SECOND), []
        for place in rng.integers(self.ends[-1], size=self._crops(seconds)):
            piece = self.train_set[int(np.searchsorted(self.ends, place, side="right"))]
            start = int(rng.integers(max(1, len(piece) - crop + 1)))
            crops.append(piece[start : start + crop])
        return crops

    def _crops(self, seconds: float) -> int:
        return max(1, round(self.plan.batch_seconds / seconds))

    def _one_step(self) -> float:
        self.model.train()
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate(self.step)
        with seeded(self.seed, 2, self.step):
            loss = self._loss(self._draw())
            loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.plan.grad_clip)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise FeatnormError(
                f"the loss of step {self.step + 1} is {value}: try a smaller lr than {self.plan.lr}"
            )
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return value

    def _loss(self, crops: Sequence[Tensor]) -> Tensor:
        batch = [part.to(self.device) for part in self.model.mask(crops)]
        with computing(self.device, "bf16" if self.plan.bf16 else "float32"):
            loss: Tensor = self.model(*batch)
        return loss

    def validate(self) -> float:
        """Return the loss on the held-out pieces, masked alike every time, without dropout."""
        self.model.eval()
        order = sorted(range(len(self.valid_set)), key=lambda k: len(self.valid_set[k]))
        total = frames = 0.0
        with torch.inference_mode():
            size = self._crops(self.plan.piece_seconds)
            for start in range(0, len(order), size):
                pieces = [self.valid_set[k] for k in order[start : start + size]]
                with seeded(self.seed, 3, start):
                    loss = float(self._loss(pieces))
                count = sum(len(piece) for piece in pieces)
                total, frames = total + loss * count, frames + count
        return total / frames

    def _write_checkpoint(self) -> Path:
        body, head = self.model.folded()
        config = self.upstream.config
        states = {
            "Optimizer": {"state": {}, "param_groups": []},
            "Step": self.step,
            "Config": {"pretraining": self.settings},
            "Upstream_Config": {
                "transformer": config["transformer"],
                "task": config["task"] | self.plan.objective,
                "audio": config["audio"],
            },
            "Transformer": body,
            "SpecHead": head,
        }
        path = self.folder / f"{self.upstream.name}.pt"
        _save(states, path)
        mark_done(path, self.settings)
        return path


def _save(states: object, path: Path) -> None:
    """Save what ``torch.save`` takes, whole or not at all; the same states give the same bytes."""
    # Through a handle the archive does not hold the temporary file's name.
    with atomic_path(path) as temporary, open(temporary, "wb") as handle:
        torch.save(states, handle)
