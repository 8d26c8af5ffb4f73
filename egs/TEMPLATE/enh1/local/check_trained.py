#!/usr/bin/env python3
"""Hold what is named for stage 4 alone against what the experiment's run.json says of it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unloaded import file_identity

from featnorm_se.bin import Parser, run
from featnorm_se.config import LENGTH, flat, override_config
from featnorm_se.errors import FeatnormError, say
from featnorm_se.training.initial import without_figures
from featnorm_se.training.record import read_record

NAMED = ("upstream_ckpt", "norm", "norm_site", "seed")


def get_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = Parser("local/check_trained.py", __doc__)
    parser.add_argument("--expdir", type=Path, required=True, help="the experiment's folder")
    for name in NAMED:
        parser.add_argument(f"--{name}", help="of run.sh; where it is not named, all is right")
    parser.add_argument("--set", dest="overrides", action="append", default=[], help="of run.sh")
    return parser


def main(argv: Sequence[str]) -> None:
    """Refuse another norm, site or seed; warn of the rest, which stage 4 does not read."""
    args = get_parser().parse_args(argv)
    if not (args.expdir / "run.json").is_file():  # a packed model's folder, or one of ESPnet's
        return
    made = read_record(args.expdir)
    if made.get("finished", True) is None:
        say(f"warning: {args.expdir} has not ended its training: run stage 3 again, it goes on")
    for name in ("norm", "norm_site", "seed"):
        asked, held = getattr(args, name), str(made.get(name))
        if name == "norm_site" and not made.get(name):  # a norm without a site
            continue
        if asked is not None and name in made and not is_same(asked, held):
            fault = f"--{name} {asked}: {args.expdir} was trained with {held or 'none'}"
            raise FeatnormError(f"{fault}: leave it out, or give another --tag")
    then = flat(without_figures(made.get("config") or {}))
    for key, value in flat(override_config({}, args.overrides)).items():
        if key.split(".")[0] not in LENGTH and then.get(key) != value:
            warn(args.expdir, f"--set {key}={value}", then.get(key, "ESPnet's or our default"))
    checkpoint = args.upstream_ckpt
    if checkpoint is not None and "upstream_ckpt" in made:
        held = made["upstream_ckpt"] or ""
        now = file_identity(checkpoint) or made.get("upstream_identity")
        if now != made.get("upstream_identity"):
            warn(args.expdir, f"--upstream_ckpt {checkpoint}", made.get("upstream_identity"))
        elif checkpoint != held and not Path(checkpoint).exists():
            warn(args.expdir, f"--upstream_ckpt {checkpoint}", held or "the official checkpoint")


def is_same(asked: str, held: str) -> bool:
    """Whether an option says what the record does; names of sites that depend on it may."""
    sites = {*asked.split(",")}
    return asked == held or bool({"auto", "last", "all"} & sites) or sites == {*held.split(",")}


def warn(expdir: Path, asked: str, held: Any) -> None:
    """Warn of an option that stage 4 does not read."""
    say(f"warning: {asked} does not count in stage 4: {expdir} was trained with {held}")


if __name__ == "__main__":
    raise SystemExit(run(main))
