"""Stage 3: fine-tune an upstream and a head for enhancement."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from featnorm_se.bin import Parser, run
from featnorm_se.errors import FeatnormError

# What ESPnet's launcher adds to a training command for each process that it starts.
LAUNCHER = (
    "multiprocessing_distributed",
    "dist_launcher",
    "dist_backend",
    "dist_init_method",
    "dist_master_addr",
    "dist_master_port",
    "dist_world_size",
    "dist_rank",
    "local_rank",
)


def get_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = Parser(
        prog="python -m featnorm_se.bin.train",
        description="Fine-tune one model with ESPnet's trainer. The same command again goes on"
        " where a run was cut.",
    )
    parser.add_argument("--expdir", required=True, help="folder of this experiment")
    parser.add_argument("--config", required=True, help="training YAML, in ESPnet's keys")
    parser.add_argument("--train_dir", required=True, help="data directory to train on")
    parser.add_argument("--valid_dir", required=True, help="data directory to validate on")
    parser.add_argument("--upstream", default="wavlm", help="name of the upstream")
    parser.add_argument(
        "--upstream_ckpt", help="a path, a URL, 'scratch', or nothing for the official one"
    )
    parser.add_argument("--upstream_conf_dir", help="folder of the recipe's upstream YAML files")
    parser.add_argument("--norm", default="none", help="kind of feature normalization")
    parser.add_argument("--norm_site", default="auto", help="sites, comma-separated")
    parser.add_argument("--clean_stats", help="clean statistics of stage 2")
    parser.add_argument("--noisy_stats", help="noisy statistics of stage 2")
    parser.add_argument("--seed", type=int, default=0, help="of everything random")
    parser.add_argument("--ngpu", type=int, default=0, help="GPUs; 0: the processor")
    parser.add_argument(
        "--deterministic",
        choices=("true", "false"),
        default="false",
        help="true: only algorithms that give the same bits every time",
    )
    parser.add_argument(
        "--set", action="append", default=[], help="key=value over the YAML; can be repeated"
    )
    parser.add_argument("--command", help="the command line to keep in run.json")
    group = parser.add_argument_group("for espnet2.bin.launch to give")
    for key in LAUNCHER:
        group.add_argument(f"--{key}", help=argparse.SUPPRESS)
    return parser


def main(argv: Sequence[str]) -> None:
    """Parse and train."""
    args = get_parser().parse_args(argv)
    if args.ngpu:
        import torch

        if not torch.cuda.is_available():
            raise FeatnormError(
                f"--ngpu {args.ngpu}: torch finds no GPU here; --ngpu 0 trains on the processor"
            )
    from featnorm_se.files import locked
    from featnorm_se.training.experiment import Experiment, train
    from featnorm_se.training.record import process_rank

    def path(text: str | None) -> Path | None:
        return Path(text) if text else None

    launcher = {key: value for key in LAUNCHER if (value := getattr(args, key)) is not None}
    expdir = Path(args.expdir)
    first = process_rank(launcher) == 0
    # The first of several processes holds the folder for all of them.
    with locked(expdir) if first else nullcontext():
        train(
            Experiment(
                expdir=expdir,
                config=Path(args.config),
                train_dir=Path(args.train_dir),
                valid_dir=Path(args.valid_dir),
                upstream=args.upstream,
                upstream_ckpt=args.upstream_ckpt or None,
                upstream_conf_dir=path(args.upstream_conf_dir),
                norm=args.norm,
                norm_site=args.norm_site,
                clean_stats=path(args.clean_stats),
                noisy_stats=path(args.noisy_stats),
                seed=args.seed,
                ngpu=args.ngpu,
                deterministic=args.deterministic == "true",
                overrides=tuple(args.set),
                command=args.command or shlex.join([Path(sys.argv[0]).name, *argv]),
                launcher=launcher,
            )
        )


if __name__ == "__main__":
    raise SystemExit(run(main))
