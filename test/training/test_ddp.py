"""Two gloo processes train as one does on the same total batch."""

import argparse
import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from forked import fork
from tiny_models import tiny_config, trainer_options

from featnorm_se.names import NORMS
from featnorm_se.training.task import EnhancementTask, register
from featnorm_se.training.trainer import FeatNormTrainer

UPSTREAMS = ("mockingjay_tiny", "tera_tiny", "wav2vec2_tiny", "hubert_tiny", "wavlm_tiny", "fbank")
BATCH, SAMPLES, STEPS = 4, 8000, 2
# Of the largest gradient in each weight: float32 sums in another order. The second step's
# gradients are those after an update.
TOLERANCE = 1e-3


def build(config: dict[str, Any]) -> Any:
    """Build a tiny model, the same in every process, with statistics that are not blank."""
    register()
    torch.manual_seed(3)
    model = EnhancementTask.build_model(argparse.Namespace(**config, loss_wrapper=None))
    for name, value in model.named_buffers():
        if name.endswith(("mean", "std")):
            value.copy_(torch.rand_like(value) + 0.5)
    return model


def batches(share: slice) -> list[tuple[list[str], dict[str, Any]]]:
    """Return a share of every step's batch."""
    draw = torch.Generator().manual_seed(5)
    found = []
    for _ in range(STEPS):
        clean = 0.1 * torch.randn(BATCH, SAMPLES, generator=draw)
        noisy = clean + 0.05 * torch.randn(BATCH, SAMPLES, generator=draw)
        signals = {"speech_mix": noisy[share], "speech_ref1": clean[share]}
        count = len(signals["speech_mix"])
        lengths = {f"{key}_lengths": torch.full((count,), SAMPLES) for key in signals}
        found.append(([f"u{n}" for n in range(count)], {**signals, **lengths}))
    return found


def run_epoch(config: dict[str, Any], folder: Path, rank: int | None = None) -> Any:
    """Train with ESPnet's loop, alone on all or as one of two on a half, and validate.

    Return the gradients of each trained weight, (STEPS, its size), and the reported losses.
    """
    model = build(config)
    from espnet2.train.distributed_utils import DistributedOption
    from espnet2.train.reporter import Reporter

    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    gradients: dict[str, list[Any]] = {name: [] for name in trained}

    def keep(*_: Any) -> None:
        for name, weight in trained.items():
            gradients[name].append(weight.grad.flatten().numpy().copy())

    optimizer = torch.optim.SGD(trained.values(), lr=0.1)
    optimizer.register_step_pre_hook(keep)
    share, together = slice(rank, None, 2 if rank is not None else 1), rank is not None
    parts = {
        "model": torch.nn.parallel.DistributedDataParallel(model) if together else model,
        "options": trainer_options(grad_clip=1e9, output_dir=folder, max_bad_steps=1),
        "distributed_option": DistributedOption(distributed=together, ngpu=0, dist_rank=rank),
    }
    training = {"optimizers": [optimizer], "schedulers": [None], "scaler": None}
    reporter = Reporter()
    reporter.set_epoch(2)
    with reporter.observe("train") as observed:
        FeatNormTrainer.train_one_epoch(
            iterator=batches(share), summary_writer=None, reporter=observed, **training, **parts
        )
    with reporter.observe("valid") as observed:
        FeatNormTrainer.validate_one_epoch(iterator=batches(share), reporter=observed, **parts)
    losses = [float(reporter.get_value(part, "loss")) for part in ("train", "valid")]
    return {name: np.stack(steps) for name, steps in gradients.items()}, losses


def run_one_of_two(rank: int, pipe: Any, config: dict[str, Any], folder: Path) -> None:
    place = f"file://{folder}/rendezvous"
    torch.distributed.init_process_group("gloo", init_method=place, world_size=2, rank=rank)
    pipe.send(run_epoch(config, folder, rank))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


# Every upstream, every norm, and every way to train one that changes which weights learn.
CASES = [(upstream, norm, {}) for upstream, norm in zip(UPSTREAMS, NORMS, strict=True)]
CASES += [("wavlm_tiny", "utterance", conf) for conf in ({"freeze": "cnn"}, {"freeze": "all"})]
CASES += [
    ("wavlm_tiny", "mix", {"feature": "weighted_sum"}),
    ("hubert_tiny", "utterance", {"gradient_checkpointing": True, "feature": "layer.1"}),
]


@pytest.mark.parametrize(("upstream", "norm", "conf"), CASES)
def test_gradients_are_those_of_one_process(tmp_path, upstream, norm, conf):
    config = tiny_config(upstream, norm, upstream_dropout=0.0, **conf)
    alone, losses = run_epoch(config, tmp_path)
    found, pipes = [], [multiprocessing.Pipe() for _ in range(2)]
    processes = [fork(run_one_of_two, rank, pipes[rank][1], config, tmp_path) for rank in range(2)]
    for pipe, _ in pipes:
        assert pipe.poll(30), "a process hangs"
        found.append(pipe.recv())
    for process in processes:
        process.join(10)
        process.kill()
    assert alone and any(np.abs(gradients).max() > 0 for gradients in alone.values())
    for name, wanted in alone.items():
        for gradients, _ in found:
            limit = TOLERANCE * np.abs(wanted).max() + 1e-9
            assert np.abs(gradients[name] - wanted).max() <= limit, name
        np.testing.assert_array_equal(found[0][0][name], found[1][0][name], err_msg=name)
    for _, reported in found:
        assert reported == pytest.approx(losses, rel=1e-5)
