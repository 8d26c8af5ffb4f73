"""Two gloo processes train as one does on the same total batch."""

from __future__ import annotations

import multiprocessing
import socket
from collections.abc import Iterator
from typing import Any

import ddp_worker
import numpy as np
import pytest
from tiny_models import tiny_config

from featnorm_se.names import NORMS

UPSTREAMS = ("mockingjay_tiny", "tera_tiny", "wav2vec2_tiny", "hubert_tiny", "wavlm_tiny", "fbank")
# Of the largest gradient in each weight: float32 sums in another order. The second step's
# gradients are those after an update.
TOLERANCE = 1e-3


class Processes:
    """Two processes in one group, started once for all tests."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(ddp_worker.PRELOAD)
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        self.pipes, self.processes = [], []
        for rank in range(2):
            ours, theirs = context.Pipe()
            process = context.Process(target=ddp_worker.serve, args=(rank, port, theirs))
            process.start()
            self.pipes.append(ours)
            self.processes.append(process)

    def run(self, name: str, ranks: tuple[int, ...] = (0, 1), **arguments: Any) -> list[Any]:
        for rank in ranks:
            self.pipes[rank].send((name, {"folder": self.folder, **arguments}))
        answers = []
        for rank in ranks:
            assert self.pipes[rank].poll(120), f"process {rank} hangs"
            answers.append(self.pipes[rank].recv())
        for well, answer in answers:
            assert well, answer
        return [answer for _, answer in answers]

    def end(self) -> None:
        for pipe, process in zip(self.pipes, self.processes, strict=True):
            pipe.send(None)
            process.join(10)
            process.kill()


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    folder = tmp_path_factory.mktemp("ddp")
    (folder / "checkpoint.pth").touch()
    started = Processes(str(folder))
    yield started
    started.end()


def check_alike(processes: Processes, upstream: str, norm: str, **separator: Any) -> None:
    config = tiny_config(upstream, norm, upstream_dropout=0.0, **separator)
    (alone,) = processes.run("run_epoch", ranks=(0,), together=False, config=config)
    first, second = processes.run("run_epoch", together=True, config=config)
    assert alone[0], "nothing is trained"
    for name, wanted in alone[0].items():
        size = np.abs(wanted).max()
        for found in (first[0][name], second[0][name]):
            assert np.abs(found - wanted).max() <= TOLERANCE * size + 1e-9, name
        np.testing.assert_array_equal(first[0][name], second[0][name], err_msg=name)
    assert any(np.abs(gradients).max() > 0 for gradients in alone[0].values())
    for part in ("train", "valid"):
        assert first[1][part] == pytest.approx(alone[1][part], rel=1e-5)
        assert second[1][part] == pytest.approx(alone[1][part], rel=1e-5)


@pytest.mark.parametrize("freeze", ["none", "cnn", "all"])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("upstream", UPSTREAMS)
def test_gradients_are_those_of_one_process(processes, upstream, norm, freeze):
    check_alike(processes, upstream, norm, freeze=freeze)


@pytest.mark.parametrize("upstream", UPSTREAMS)
@pytest.mark.parametrize(
    "separator",
    [{"freeze_steps": 1}, {"feature": "weighted_sum"}, {"gradient_checkpointing": True}],
    ids=lambda conf: next(iter(conf)),
)
def test_what_else_decides_which_weights_get_gradients(processes, upstream, separator):
    check_alike(processes, upstream, "utterance", **separator)
