#!/usr/bin/env python3
"""Fetch VoiceBank-DEMAND (28 speakers) from Edinburgh DataShare.

The MD5 sums are those that DataShare publishes for handle 10283/2791.
"""

from __future__ import annotations

import argparse
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from featnorm_se.bin import Parser, run
from featnorm_se.data.voicebank_demand import LOGS_ZIP
from featnorm_se.errors import FeatnormError
from featnorm_se.fetch import fetch_file
from featnorm_se.files import is_done, locked, mark_done, stamp

SERVER = "https://datashare.ed.ac.uk/server/api/core/bitstreams"


@dataclass(frozen=True)
class OfficialFile:
    """One file of the download: its name there, its place on the server, and its MD5."""

    name: str
    item: str
    md5: str


# fmt: off
DOWNLOADS = (
    OfficialFile(
        LOGS_ZIP, "11185dc8-9cf1-405b-b858-35bd6a04aedd", "0d16f5b6afe12d64238d1e4a0e6ff6e8"),
    OfficialFile(
        "clean_testset_wav.zip",
        "dec213d3-bf57-4777-9663-c24bdce92d5e", "34eb1c0ba7ef667e9b966866c542fc16"),
    OfficialFile(
        "noisy_testset_wav.zip",
        "13c1bfbf-14a6-41db-9b41-8f7310f01ad5", "fb1b86caa31e8ba5b506c0c64da9aab5"),
    OfficialFile(
        "clean_trainset_28spk_wav.zip",
        "245452b6-6235-44b6-a6f9-e7eb19797769", "d2d5a45ec32f8fcbf201bde0447e20ba"),
    OfficialFile(
        "noisy_trainset_28spk_wav.zip",
        "ecb5a102-bb00-46d3-8af5-40c79823b837", "1fca9e8bafb8cd069f6653c6d92f9e9c"),
)
# fmt: on


def download(
    output: str | os.PathLike[str],
    files: Sequence[OfficialFile] = DOWNLOADS,
    server: str = SERVER,
) -> list[Path]:
    """Bring the official zip files into a folder; those that are there and whole are kept.

    Args:
        output: the folder.
        files: what to bring.
        server: the address before ``/<item>/content``.

    Returns:
        The files.

    Raises:
        FeatnormError: a file cannot be brought or is not the official one.
    """
    folder = Path(output)
    for file in files:
        path = folder / file.name
        if not path.is_file():
            fetch_file(
                f"{server}/{file.item}/content",
                path,
                mend=f"run it again to go on, or fetch it elsewhere and put it at {path}, or give"
                " the corpus with --db_root",
            )
        check_md5(path, file.md5)
    return [folder / file.name for file in files]


def check_md5(path: Path, md5: str) -> None:
    """Check a file against its published MD5; what was found right is not read again.

    Raises:
        FeatnormError: the file is another one or is damaged.
    """
    request = {"md5": md5, "file": stamp([path])}
    if is_done(path, request):
        return
    with open(path, "rb") as handle:
        # MD5 is what the server publishes; it guards against damage, TLS against the rest.
        found = hashlib.file_digest(handle, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if found != md5:
        raise FeatnormError(
            f"{path} has the MD5 {found}, the official one is {md5}: remove it and run again"
        )
    mark_done(path, request)


def get_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = Parser(
        prog="local/download.py",
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
    with locked(args.output):
        for path in download(args.output, server=args.server):
            print(f"{path}: as published")


if __name__ == "__main__":
    raise SystemExit(run(main))
