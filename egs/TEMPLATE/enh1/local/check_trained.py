#!/usr/bin/env python3
"""Hold what is named for stage 4 alone against what the experiment's run.json says of it."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from featnorm_se.bin import Parser, run
from featnorm_se.config import LENGTH, flat, override_config
from featnorm_se.errors import FeatnormError, say
from featnorm_se.files import sha256_file
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
    """Refuse what says otherwise than the record; warn of a training that has not ended."""
    args = get_parser().parse_args(argv)
    if not (args.expdir / "run.json").is_file():  # a packed model's folder, or one of ESPnet's
        return
    made = read_record(args.expdir)
    if made.get("finished", True) is None:
        say(f"warning: {args.expdir} has not ended its training: run stage 3 again, it goes on")
    for name in NAMED:
        asked, held = getattr(args, name), made.get(name)
        if asked is not None and name in made and not fits(name, asked, held, made):
            raise FeatnormError(refusal(args.expdir, f"--{name} {asked}", held))
    then = flat(made.get("config", {}))
    for key, value in flat(override_config({}, args.overrides)).items():
        if key.split(".")[0] not in LENGTH and key in then and then[key] != value:
            raise FeatnormError(refusal(args.expdir, f"--set {key}={value}", then[key]))


def fits(name: str, asked: str, held: Any, made: Mapping[str, Any]) -> bool:
    """Whether an option says what the record does, as far as that can be told from here."""
    if name == "norm_site" and {"auto", "last", "all"} & {*asked.split(",")}:
        return True  # only the upstream knows which these are
    path = Path(asked)
    if name == "upstream_ckpt" and path.is_file() and not path.with_name("config.json").is_file():
        return made.get("upstream_identity") in (None, f"sha256:{sha256_file(asked)}")
    if name == "upstream_ckpt" and asked and path.exists():
        return True  # a hash of several files
    return asked == ("" if held is None else str(held))


def refusal(expdir: Path, asked: str, held: Any) -> str:
    """Return the message."""
    how = "without" if held in (None, "") else f"with {held}"
    return f"{asked}: {expdir} was trained {how}: leave it out, or give another --tag"


if __name__ == "__main__":
    raise SystemExit(run(main))
