#!/usr/bin/env python3
"""Start-up: every command's ``--help`` and the first batch of stages 2 and 3, against imports.

The peer is one process that imports what a user would otherwise train with, ESPnet's
``espnet2.bin.enh_train`` and ``s3prl.hub``, and does no more. The stages run the real commands on a
few seconds of noise and end when the network gets its first batch; the upstream is a small one
with random weights, so that imports are what is measured, and not the drawing of weights.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from timing import Cost, command_cost, costs_in_turn, print_table

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "egs" / "mini" / "enh1"
# Without transformers, which set-up does not install, s3prl.hub comes as far as its Hugging Face
# models and no further: that is measured then, and is less than the whole import.
HUB = """
try:
    import s3prl.hub
except ModuleNotFoundError as error:
    if error.name != "transformers":
        raise
"""
ENH_TRAIN = "import espnet2.bin.enh_train"
# What plain torch takes before a training: its first optimizer imports torch's compiler, which
# stage 3 does without.
FLOOR = "import torch; torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))])"
# s3prl's hub tries to fetch NLTK's data; with this it fails at once, as without a network.
OFFLINE = {name: "http://127.0.0.1:9" for name in ("http_proxy", "https_proxy", "all_proxy")}
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

# Run a command's module and end the process, without any cleaning up, where a class's method is
# called first.
UNTIL = """
import importlib, os, runpy, sys
place, name = {method!r}.rsplit(".", 2)[0], {method!r}.rsplit(".", 2)[1:]
kind = getattr(importlib.import_module(place), name[0])
setattr(kind, name[1], lambda *args, **kwargs: os._exit(0))
sys.argv = {command!r}
runpy.run_module({command!r}[0], run_name="__main__", alter_sys=True)
sys.exit("the command ended before its first batch")
"""
COMMANDS = ("prepare", "collect_stats", "train", "enhance_set", "score", "report")
MORE_COMMANDS = ("main", "enhance", "pack", "compare", "tables", "check", "gate", "drift", "info")


def python(code: str) -> Cost:
    """Run some Python in a process of its own."""
    return command_cost([sys.executable, "-c", code], ONE_THREAD | OFFLINE)


def until(method: str, *command: str) -> Cost:
    """Run a command until a method is called."""
    return python(UNTIL.format(method=method, command=list(command)))


def make_data(folder: Path) -> None:
    """Write data directories of a few noises, and their statistics."""
    import numpy as np
    import soundfile

    from featnorm_se.data.datadir import Utterance, write_data_dir

    rng = np.random.default_rng(0)
    utterances = []
    for index in range(16):
        path = folder / f"u{index}.flac"
        soundfile.write(path, rng.normal(size=40000) * 0.05, 16000)
        utterances.append(Utterance(f"u{index}", str(path), str(path), f"s{index}", 2.5))
    for name in ("train", "valid"):
        write_data_dir(folder / name, utterances)
    command_cost([sys.executable, "-m", *stage2(folder)])


UPSTREAM = ("--upstream", "tera", "--upstream_ckpt", "scratch")
UPSTREAM += ("--upstream_conf_dir", str(RECIPE / "conf" / "upstream"))


def stage2(folder: Path) -> list[str]:
    """Return the command of stage 2."""
    scp = ["--wav_scp", str(folder / "train" / "spk1.scp"), "--output", str(folder / "clean.npz")]
    return ["featnorm_se.bin.collect_stats", *UPSTREAM, *scp]


def stage3(folder: Path) -> list[str]:
    """Return the command of stage 3."""
    data = ["--train_dir", str(folder / "train"), "--valid_dir", str(folder / "valid")]
    data += ["--norm", "utterance", "--clean_stats", str(folder / "clean.npz")]
    data += ["--expdir", str(folder / "exp"), "--config", str(RECIPE / "conf" / "demo.yaml")]
    return ["featnorm_se.bin.train", *UPSTREAM, *data]


def main() -> None:
    """Time and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="the peer and two commands, once")
    args = parser.parse_args()
    peer = "enh_train and s3prl.hub imported"
    runs: dict[str, Callable[[], Cost]] = {
        peer: partial(python, "import torch" if args.quick else ENH_TRAIN + HUB)
    }
    words = ("collect_stats", "main") if args.quick else COMMANDS + MORE_COMMANDS
    for word in words:
        command = [sys.executable, "-m", f"featnorm_se.bin.{word}", "--help"]
        runs[f"{word} --help"] = partial(command_cost, command)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if not args.quick:
            make_data(folder)
            runs["enh_train alone"] = partial(python, ENH_TRAIN)
            runs["s3prl.hub alone"] = partial(python, HUB)
            runs["torch and an optimizer"] = partial(python, FLOOR)
            forward = "featnorm_se.model.separator.FeatNormSeparator.forward"
            extract = "featnorm_se.upstream.base.Upstream.extract"
            runs["first batch of stage 2"] = partial(until, extract, *stage2(folder))
            runs["first batch of stage 3"] = partial(until, forward, *stage3(folder))
        repetitions = 1 if args.quick else args.repetitions
        costs = costs_in_turn(runs, repetitions, warm_up=not args.quick)
    told = "`import torch`" if args.quick else peer
    pairs = {f"{told} / {name}": (peer, name) for name in runs if name != peer}
    if not args.quick:
        batch = "first batch of stage 3"
        for other in ("enh_train alone", "s3prl.hub alone", "torch and an optimizer"):
            pairs[f"{other} / {batch}"] = (other, batch)
    print_table(costs, pairs)


if __name__ == "__main__":
    main()
