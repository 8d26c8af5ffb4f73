"""What the two processes of test_ddp.py do. They are forked from one that has imported ESPnet."""

from __future__ import annotations

import argparse
import dataclasses
import os
import traceback
from multiprocessing.connection import Connection
from typing import Any

PRELOAD = ["featnorm_se.training.task", "ddp_worker"]
BATCH, SAMPLES, STEPS = 4, 8000, 2


def serve(rank: int, port: int, pipe: Connection) -> None:
    """Answer (function's name, arguments) with (True, its result) or (False, what went wrong)."""
    import torch
    from torch import distributed

    from featnorm_se.training.task import register

    register()
    torch.set_num_threads(1)
    place = f"tcp://127.0.0.1:{port}"
    distributed.init_process_group("gloo", init_method=place, world_size=2, rank=rank)
    while (asked := pipe.recv()) is not None:
        name, arguments = asked
        try:
            pipe.send((True, globals()[name](**arguments)))
        except Exception:  # to be told in the test's own process
            pipe.send((False, traceback.format_exc()))
    distributed.destroy_process_group()


def model_of(folder: str, config: dict[str, Any]) -> Any:
    """Build a tiny model, the same in every process, with statistics that are not blank."""
    import torch

    from featnorm_se.training.task import FeatNormTask

    # A folder with a checkpoint: the task then loads neither weights nor statistics.
    more = {"output_dir": folder, "resume": True, "init": None, "loss_wrapper": None}
    torch.manual_seed(3)
    model = FeatNormTask.build_model(argparse.Namespace(**{**config, **more}))
    for name, value in model.named_buffers():
        if name.endswith(("mean", "std")):
            value.copy_(torch.rand_like(value) + 0.5)
    return model


def batches(folder: str, share: slice) -> list[tuple[list[str], dict[str, Any]]]:
    """Return a share of every step's batch."""
    import torch

    draw = torch.Generator().manual_seed(5)
    found = []
    for _ in range(STEPS):
        clean = 0.1 * torch.randn(BATCH, SAMPLES, generator=draw)
        noisy = clean + 0.05 * torch.randn(BATCH, SAMPLES, generator=draw)
        parts = {"speech_mix": noisy[share], "speech_ref1": clean[share]}
        count = len(parts["speech_mix"])
        lengths = {f"{key}_lengths": torch.full((count,), SAMPLES) for key in parts}
        found.append(([f"u{n}" for n in range(count)], {**parts, **lengths}))
    return found


def run_epoch(
    together: bool, folder: str, config: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, float]]:
    """Train with ESPnet's loop, alone on all or together on a half each, and validate.

    Returns:
        The gradients of each trained weight, (STEPS, its size), and the losses that the epoch
        reports.
    """
    import numpy as np
    import torch
    from espnet2.train.distributed_utils import DistributedOption
    from espnet2.train.reporter import Reporter
    from torch import distributed
    from torch.nn.parallel import DistributedDataParallel

    from featnorm_se.training.trainer import FeatNormOptions, FeatNormTrainer

    model = model_of(folder, config)
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    gradients: dict[str, list[Any]] = {name: [] for name in trained}

    def keep(*_: Any) -> None:
        for name, weight in trained.items():
            gradients[name].append(weight.grad.flatten().numpy().copy())

    optimizer = torch.optim.SGD(trained.values(), lr=0.1)
    optimizer.register_step_pre_hook(keep)
    share = slice(distributed.get_rank(), None, 2) if together else slice(None)
    set_to = {"accum_grad": 1, "grad_clip": 1e9, "grad_clip_type": 2.0, "log_interval": 100}
    set_to |= {"ngpu": 0, "use_amp": False, "output_dir": folder, "max_bad_steps": 1}
    names = (field.name for field in dataclasses.fields(FeatNormOptions))
    options = FeatNormOptions(**{name: set_to.get(name, False) for name in names})
    parts = {
        "model": DistributedDataParallel(model) if together else model,
        "options": options,
        "distributed_option": DistributedOption(distributed=together, ngpu=0),
    }
    reporter = Reporter()
    reporter.set_epoch(2)
    with reporter.observe("train") as observed:
        FeatNormTrainer.train_one_epoch(
            iterator=batches(folder, share),
            optimizers=[optimizer],
            schedulers=[None],
            scaler=None,
            summary_writer=None,
            reporter=observed,
            **parts,
        )
    with reporter.observe("valid") as observed:
        FeatNormTrainer.validate_one_epoch(
            iterator=batches(folder, share), reporter=observed, **parts
        )
    losses = {part: float(reporter.get_value(part, "loss")) for part in ("train", "valid")}
    return {name: np.stack(steps) for name, steps in gradients.items()}, losses


def die(**_: Any) -> None:
    """End without a word, as a process that the system kills."""
    os._exit(9)
