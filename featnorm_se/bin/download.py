"""Fetch VoiceBank-DEMAND (28 speakers) from Edinburgh DataShare."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from featnorm_se.bin import Parser, run


def get_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    from featnorm_se.data.voicebank_demand import SERVER

    parser = Parser(
        prog="python -m featnorm_se.bin.download",
        description="Fetch the four zip files and the logs of VoiceBank-DEMAND (handle 10283/2791,"
        " 5.7 GB, CC BY 4.0). A second call goes on where the first was cut; each file is checked"
        " against its published MD5.",
    )
    parser.add_argument("--output", default="downloads", help="folder for the zip files")
    parser.add_argument("--server", default=SERVER, help="address before /<item>/content")
    return parser


def main(argv: Sequence[str]) -> None:
    """Fetch and check."""
    args = get_parser().parse_args(argv)
    from featnorm_se.data.voicebank_demand import download_voicebank_demand
    from featnorm_se.files import locked

    with locked(args.output):
        for path in download_voicebank_demand(args.output, server=args.server):
            print(f"{path}: as published")


if __name__ == "__main__":
    raise SystemExit(run(main))
