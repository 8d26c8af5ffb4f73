"""When a process of a distributed run ends, the others end too and say which and why."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
import time
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from featnorm_se.errors import FeatnormError

SILENCE = 2.5  # seconds, for the tests


def work(rank: int, place: str, log: str, deaf: bool, deeds: dict[int, str]) -> None:
    """Sum numbers with the other process, and do one's deed after the third sum."""
    import torch
    from torch import distributed

    from featnorm_se.bin import run
    from featnorm_se.training import peers

    handle = os.open(log, os.O_CREAT | os.O_WRONLY)
    os.dup2(handle, 2)
    peers._BROKEN_SILENCE = peers._SILENCE = SILENCE
    if deaf:  # as NCCL may be: the wait for the dead goes on, and no error comes
        distributed.all_reduce = lambda value: time.sleep(60 if value > 5 else 0)

    def main(_: object) -> None:
        with peers.Peers(rank, 2, place) as others:
            distributed.init_process_group("gloo", place, timedelta(60), 2, rank)
            for number in range(8):
                distributed.all_reduce(torch.tensor(number))
                time.sleep(0.05)
                if number == 3:
                    act(deeds.get(rank, ""))
            others.leave()

    sys.stderr = os.fdopen(2, "w", buffering=1)
    os._exit(run(main, []))


def act(deed: str) -> None:
    if deed == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if deed == "raise":
        raise FeatnormError("utterance p1 is bad")
    if deed == "linger":
        time.sleep(2 * SILENCE)


def run_two(
    folder: Path, deeds: dict[int, str], deaf: bool = False, place: str = ""
) -> tuple[list[int | None], list[str]]:
    """Run both; return their exit codes and what they said."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["featnorm_se.training.peers", "test_peers"])
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = place or f"tcp://127.0.0.1:{taken.getsockname()[1]}"
    logs = [str(folder / f"{rank}.log") for rank in range(2)]
    processes = [
        context.Process(target=work, args=(rank, place, logs[rank], deaf, deeds))
        for rank in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        process.kill()
    told = [Path(log).read_text() for log in logs]
    return [process.exitcode for process in processes], told


@pytest.mark.parametrize("deaf", [False, True], ids=["broken", "deaf"])
@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_process_ends_the_other(tmp_path, victim, deaf):
    began = time.monotonic()
    codes, told = run_two(tmp_path, {victim: "kill"}, deaf)
    assert time.monotonic() - began < 40
    assert codes[victim] == -signal.SIGKILL
    assert codes[1 - victim] == 1, told
    (line,) = [line for line in told[1 - victim].splitlines() if "error:" in line]
    assert f"process {victim} has" in line
    assert "start all again to go on" in line
    assert "Traceback" not in told[1 - victim]


@pytest.mark.parametrize("victim", [0, 1])
def test_the_reason_is_passed_on(tmp_path, victim):
    codes, told = run_two(tmp_path, {victim: "raise"})
    assert codes == [1, 1]
    assert "featnorm_se: error: utterance p1 is bad" in told[victim]
    assert f"process {victim} has ended (FeatnormError: utterance p1 is bad)" in told[1 - victim]


def test_a_rendezvous_by_a_file_is_watched_too(tmp_path):
    codes, told = run_two(tmp_path, {1: "kill"}, deaf=True, place=f"file://{tmp_path}/init")
    assert codes == [1, -signal.SIGKILL]
    assert "process 1 has been silent" in told[0]


def test_a_slow_process_is_waited_for(tmp_path):
    codes, told = run_two(tmp_path, {1: "linger"})
    assert codes == [0, 0], told


def test_without_a_launcher_there_are_no_others():
    from featnorm_se.training.peers import Peers

    with Peers(0, 1, "") as others:
        others.leave()


def test_a_first_process_that_is_not_there_is_named(monkeypatch):
    from featnorm_se.training import peers

    monkeypatch.setattr(peers, "_ARRIVAL", 1.0)
    with (
        pytest.raises(FeatnormError, match="process 1 of 2 cannot reach the first one"),
        peers.Peers(1, 2, "tcp://127.0.0.1:1"),
    ):
        pass


@pytest.mark.parametrize(
    ("sizes", "told"),
    [
        ((3, 1, 4, None), r"validation set has fewer utterances \(1, .*than there are processes"),
        ((1, 3, 4, None), "training set has fewer utterances"),
        ((3, 3, 1, None), "batch_size is 1, less than the 2 processes"),
        ((3, 3, 4, 1), "--set valid_batch_size=2"),
    ],
)
def test_what_is_too_small_to_share_is_named(tmp_path, sizes, told):
    from featnorm_se.training.peers import check_shares

    train, valid, batch, valid_batch = sizes
    options = {"batch_size": batch, "valid_batch_size": valid_batch}
    options |= {"batch_type": "folded", "valid_batch_type": "sorted"}
    for part, count in (("train", train), ("valid", valid)):
        scp = tmp_path / f"{part}.scp"
        scp.write_text("".join(f"u{number} u{number}.wav\n" for number in range(count)))
        options[f"{part}_data_path_and_name_and_type"] = [[str(scp), "speech_mix", "sound"]]
    with pytest.raises(FeatnormError, match=told):
        check_shares(SimpleNamespace(**options), 2)
    check_shares(SimpleNamespace(**options), 1)
