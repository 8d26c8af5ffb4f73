#!/usr/bin/env python3
"""Check an installation: each part's version, whether it works, and the mend when it does not.

Usage: check_install.py [--list] [PART ...]      exit status 1 when a part fails
"""

import argparse
import contextlib
import importlib.metadata
import io
import socket
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import part_checks as checks

AGAIN = "run make setup again"


@dataclass(frozen=True)
class Part:
    """One line of the check.

    Attributes:
        name: What it is called in the list.
        distribution: Its name for pip; empty when pip does not know it.
        check: Uses the part and returns what it saw; raises when it does not work.
        mend: What to do when it fails.
    """

    name: str
    distribution: str
    check: Callable[[], str]
    mend: str = AGAIN


PARTS = (
    Part(
        "python",
        "",
        checks.check_python,
        "make clean-setup, then make setup BASE_PYTHON=/path/to/python3.13",
    ),
    Part("numpy", "numpy", checks.check_numpy),
    Part(
        "torch",
        "torch",
        checks.check_torch,
        "make clean-setup, then make setup (PIP_ARGS= chooses an index)",
    ),
    Part(
        "torchaudio",
        "torchaudio",
        checks.check_torchaudio,
        "run tools/installers/mend_torchaudio.py with this python",
    ),
    Part("espnet", "espnet", checks.check_espnet),
    Part(
        "s3prl",
        "espnet-s3prl",
        checks.check_s3prl,
        "pip uninstall s3prl espnet-s3prl, then make clean-setup setup",
    ),
    Part(
        "pesq",
        "pesq",
        checks.check_pesq,
        "apt-get install build-essential python3-dev, then make clean-setup setup",
    ),
    Part("pystoi", "pystoi", checks.check_pystoi),
    Part("soundfile", "soundfile", checks.check_soundfile),
    Part("matplotlib", "matplotlib", checks.check_matplotlib, "pip install -e '.[recipes]'"),
    Part("tensorboard", "tensorboard", checks.check_tensorboard),
    Part(
        "kaldi-utils",
        "",
        checks.check_utils,
        "rm -f tools/espnet_utils.done, then make setup (perl is needed)",
    ),
    Part(
        "featnorm_se",
        "featnorm_se",
        checks.check_featnorm_se,
        "pip install --no-deps -e . in this checkout",
    ),
)


def version_of(distribution: str) -> str:
    """A distribution's version as pip knows it, or ``-``."""
    try:
        return importlib.metadata.version(distribution) if distribution else "-"
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def run_part(part: Part) -> bool:
    """Check one part and print its line (two when it fails).

    Returns:
        Whether it works.
    """
    noise = io.StringIO()
    try:
        with contextlib.redirect_stdout(noise), contextlib.redirect_stderr(noise):
            detail = part.check()
    except Exception as err:  # whatever a broken part throws is what this script is for
        first = (str(err).strip() or type(err).__name__).splitlines()[0]
        print(
            f"FAIL  {part.name:16} {version_of(part.distribution):14} {type(err).__name__}: {first}"
        )
        print(f"      mend: {part.mend}", flush=True)
        return False
    print(f"ok    {part.name:16} {version_of(part.distribution):14} {detail}", flush=True)
    return True


def main(argv: list[str] | None = None) -> int:
    """Check the parts named in ``argv`` (all without names) and return the exit status."""
    parser = argparse.ArgumentParser(description="Check each part of an installation.")
    parser.add_argument("parts", nargs="*", metavar="PART", help="only these (default: all)")
    parser.add_argument("--list", action="store_true", help="print the names of the parts and stop")
    args = parser.parse_args(argv)
    names = [part.name for part in PARTS]
    if args.list:
        print("\n".join(names))
        return 0
    unknown = [name for name in args.parts if name not in names]
    if unknown:
        parser.error(f"no part {unknown[0]!r}; the parts are: {', '.join(names)}")
    warnings.simplefilter("ignore")
    socket.setdefaulttimeout(
        5
    )  # some parts ask the network when imported; offline they must not hang
    failed = [
        part.name for part in PARTS if part.name in (args.parts or names) and not run_part(part)
    ]
    if failed:
        print(f"{len(failed)} of {len(args.parts or names)} parts fail: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
