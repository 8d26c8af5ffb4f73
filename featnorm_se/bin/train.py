"""Stage 3: fine-tune an upstream and a head for enhancement."""

import argparse
import shlex
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from featnorm_se.bin import Parser, add_upstream_options, run
from featnorm_se.data.parallel import set_threads
from featnorm_se.errors import FeatnormError
from featnorm_se.names import DEFAULT_NORM, NORMS

# What ESPnet's launcher adds to a training command for each process that it starts.
_DIST = ("launcher", "backend", "init_method", "master_addr", "master_port", "world_size", "rank")
LAUNCHER = ("multiprocessing_distributed", "local_rank", *(f"dist_{name}" for name in _DIST))


def get_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = Parser(
        prog="featnorm-se train",
        description="Fine-tune one model with ESPnet's trainer. The same command again goes on"
        " where a run was cut.",
    )
    add = parser.add_argument
    add("--expdir", type=Path, required=True, help="folder of this experiment")
    add("--config", type=Path, required=True, help="training YAML, in ESPnet's keys")
    add("--train_dir", type=Path, required=True, help="data directory to train on")
    add("--valid_dir", type=Path, required=True, help="data directory to validate on")
    add_upstream_options(parser)
    add("--norm", default=DEFAULT_NORM, help=f"one of {', '.join(NORMS)}")
    add(
        "--init",
        type=Path,
        help="start from this trained model, an experiment's folder or a packed zip: all weights"
        " and statistics; upstream, norm and norm_site come from there too",
    )
    add("--clean_stats", type=Path, help="clean statistics of stage 2")
    add("--noisy_stats", type=Path, help="noisy statistics of stage 2")
    add("--ngpu", type=int, default=0, help="GPUs; 0: the CPU")
    add(
        "--set",
        dest="overrides",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="over the YAML; can be repeated",
    )
    add("--command", help="the command line to keep in run.json")
    group = parser.add_argument_group("for espnet2.bin.launch to give")
    for key in LAUNCHER:
        group.add_argument(f"--{key}", help=argparse.SUPPRESS)
    return parser


def main(argv: Sequence[str]) -> None:
    """Parse and train."""
    parser = get_parser()
    args = parser.parse_args(argv)
    if args.init:  # these defaults are for a new model
        parser.set_defaults(upstream="", norm="", norm_site="")
        args = parser.parse_args(argv)
    set_threads(max(1, args.ngpu))
    if args.ngpu:
        import torch

        if not torch.cuda.is_available():
            fault = f"--ngpu {args.ngpu}: torch finds no GPU here; --ngpu 0 trains on the CPU"
            raise FeatnormError(fault)
    from featnorm_se.files import locked
    from featnorm_se.training.experiment import Experiment, process_rank, train

    options = vars(args)
    launcher = {key: value for key in LAUNCHER if (value := options.pop(key)) is not None}
    options["command"] = args.command or shlex.join(["featnorm-se", "train", *argv])
    # The first of several processes holds the folder for all of them.
    with locked(args.expdir) if process_rank(launcher) == 0 else nullcontext():
        train(Experiment(**options, launcher=launcher))


if __name__ == "__main__":
    raise SystemExit(run(main))
