"""A command that was killed goes on when it is given again, and ends as if nothing had been.

Each command is struck as soon as its first output is there, by SIGKILL, which nothing can catch,
and by SIGTERM, which batch systems send before they pre-empt. test_resume.py strikes stage 3.
"""

import csv
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from forked import fork_command
from golden_numbers import run, write_pairs

STATS = "--upstream tera_tiny --upstream_ckpt scratch --wav_scp {world}/train/spk1.scp"
# What is run, and what has to be there (a pattern) before it is struck.
COMMANDS = {
    "prepare": (
        "--corpus kaldi --db_root {world}/wide --output {out}/data --wav_dir {out}/wav --nj 1",
        "wav/**/[!.]*.*",
    ),
    "collect_stats": (f"{STATS} --kind clean --output {{out}}/clean.npz", ""),
    "enhance_set": (
        "--model {world}/exp --wav_scp {world}/test/wav.scp --output {out}",
        "wav/*.wav",
    ),
    "enhance": ("{world}/test -o {out} --model {world}/exp", "*.wav"),
    "score": (
        "--ref {world}/test/spk1.scp --inf {world}/test/wav.scp --output {out} --nj 1"
        " --metrics STOI SSNR",
        "*.jsonl",
    ),
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, tiny_experiment: Path) -> Path:
    """Data directories and an experiment."""
    folder = tmp_path_factory.mktemp("world")
    for name, count in (("train", 8), ("valid", 2), ("test", 8)):
        write_pairs(folder / name, count, 24000 if name == "test" else 8800, 0)
        write_pairs(folder / "wide" / name, 3 * count, 24000, 0, rate=48000)
    (folder / "exp").symlink_to(tiny_experiment)
    return folder


def options(word: str, world: Path, out: Path) -> list[str]:
    return COMMANDS[word][0].format(world=world, out=out).split()


def result(word: str, out: Path) -> Any:
    """Return what a command is for, in a form that can be compared."""
    if word == "collect_stats":
        with np.load(out / "clean.npz") as arrays:
            return {name: arrays[name].tolist() for name in arrays if name != "meta"}
    if word == "score":
        with open(out / "scores.csv", newline="") as handle:
            return list(csv.DictReader(handle))
    files = {path.name: soundfile.read(path)[0].tobytes() for path in out.rglob("[!.]*.wav")}
    lists = {path.name: len(path.read_text().splitlines()) for path in out.rglob("*.scp")}
    return files, lists


@pytest.mark.slow
@pytest.mark.parametrize("word", COMMANDS)
def test_the_same_command_goes_on(world, tmp_path, word):
    run(word, *options(word, world, tmp_path / "whole"))
    wanted = result(word, tmp_path / "whole")
    for number in (signal.SIGKILL, signal.SIGTERM):
        out, log = tmp_path / str(number), tmp_path / f"{number}.log"
        arguments, pattern = options(word, world, out), COMMANDS[word][1]
        struck = fork_command(word, arguments, log)
        # Where there is no file to wait for, it has begun to say how far it is.
        while not (list(out.glob(pattern)) if pattern else log.is_file() and log.stat().st_size):
            assert struck.is_alive(), log.read_text()
            time.sleep(0.005)
        os.killpg(struck.pid, number)
        struck.join(30)
        assert struck.exitcode in (-number, 128 + number), log.read_text()
        if number == signal.SIGTERM:
            last = log.read_text().splitlines()[-1]
            assert last.endswith("the same command again does what is left")
        if word == "enhance":  # it removes what a killed run, which can remove nothing, has left
            (out / f".{2**22 + 1}.tmp.0123456789ab.wav").touch()
        run(word, *arguments)
        assert result(word, out) == wanted
        if number == signal.SIGTERM or word == "enhance":
            assert not list(out.rglob(".*.tmp.*"))
