"""The pre-training run: steps that can be cut anywhere, a curve, an official-layout checkpoint."""

from __future__ import annotations

import csv
import io
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from featnorm_se.errors import FeatnormError
from featnorm_se.files import write_json, write_text
from featnorm_se.pretraining.model import MaskedReconstruction, seeded
from featnorm_se.pretraining.plan import Plan
from featnorm_se.upstream.checkpoint import read_checkpoint, save_states
from featnorm_se.upstream.mockingjay import MelUpstream

_SECONDS_BETWEEN_LINES = 10.0
_STATE = "state.pt"
_SETTINGS = "settings.json"
CURVE = "curve.csv"
FRAMES_A_SECOND = 100


def is_finished(folder: Path, name: str, settings: Mapping[str, Any]) -> bool:
    """Whether a folder holds the checkpoint of just this run, which is written at its end."""
    try:
        known = json.loads((folder / _SETTINGS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(known == _plain(settings)) and (folder / f"{name}.pt").is_file()


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as JSON gives them back."""
    plain: dict[str, Any] = json.loads(json.dumps(dict(settings)))
    return plain


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
        self.settings = _plain(settings)
        self._resume()

    def _resume(self) -> None:
        path = self.folder / _SETTINGS
        if path.is_file():
            try:
                known = json.loads(path.read_text(encoding="utf-8"))
            except ValueError as error:
                raise FeatnormError(f"{path} is damaged: remove {self.folder}") from error
            differing = sorted(
                key
                for key in known.keys() | self.settings.keys()
                if known.get(key) != self.settings.get(key)
            )
            if differing:
                raise FeatnormError(
                    f"{self.folder} holds a run with another {', '.join(differing)}: name another"
                    " --expdir, or remove it"
                )
        else:
            write_json(path, self.settings)
        if not (self.folder / _STATE).is_file():
            return
        state = read_checkpoint(self.folder / _STATE)
        try:
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step, self.rows = int(state["step"]), list(state["rows"])
        except (KeyError, RuntimeError, ValueError) as error:
            raise FeatnormError(
                f"{self.folder / _STATE} is no state of this run: remove it"
            ) from error
        print(f"pretrain: going on after step {self.step}", file=sys.stderr, flush=True)

    def _save(self) -> None:
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "rows": self.rows,
        }
        save_states(state, self.folder / _STATE)
        self.write_curve()

    def write_curve(self) -> None:
        """Write the rows known so far: step, train, valid, lr, seconds."""
        text = io.StringIO()
        names = ("step", "train", "valid", "lr", "seconds")
        writer = csv.DictWriter(text, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            {
                "step": int(row["step"]),
                "train": f"{row['train']:.6f}" if row["step"] else "",
                "valid": f"{row['valid']:.6f}",
                "lr": f"{row['lr']:.3e}",
                "seconds": f"{row['seconds']:.1f}",
            }
            for row in self.rows
        )
        write_text(self.folder / CURVE, text.getvalue())

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
        said, first, since = time.monotonic(), self.step, time.monotonic()
        losses: list[float] = []
        while self.step < self.plan.steps:
            losses.append(self._one_step())
            last = self.step == self.plan.steps
            if self.step % self.plan.interval == 0 or last:
                valid = self.validate()
                self.rows.append(
                    {
                        "step": float(self.step),
                        "train": sum(losses) / len(losses),
                        "valid": valid,
                        "lr": self.rate(self.step - 1),
                        "seconds": time.monotonic() - began,
                    }
                )
                losses = []
                self._save()
            now = time.monotonic()
            if now - said > _SECONDS_BETWEEN_LINES or last:
                said = now
                pace = (self.step - first) / (now - since)
                row = self.rows[-1]
                told = f"held-out loss {row['valid']:.4f} after step {int(row['step'])}"
                left = (self.plan.steps - self.step) / pace / 60
                print(
                    f"pretrain: step {self.step}/{self.plan.steps}, {pace:.2f} steps/s, {told},"
                    f" {left:.1f} min left",
                    file=sys.stderr,
                    flush=True,
                )
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
        if value != value or value == float("inf"):
            raise FeatnormError(
                f"the loss of step {self.step + 1} is {value}: try a smaller lr than {self.plan.lr}"
            )
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return value

    def _loss(self, crops: Sequence[Tensor]) -> Tensor:
        batch = [part.to(self.device) for part in self.model.mask(crops)]
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.plan.bf16):
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
        save_states(states, path)
        return path
