#!/usr/bin/env python3
"""Decode the G.722 prompts of Debian's asterisk-core-sounds packages to 16 kHz FLAC.

One folder a voice, one file a prompt: asterisk/en_US_f_Allison/digits-1.flac. Needs the package
"av" (pip install av), which the project itself does not.

    local/asterisk.py SOUNDS OUTPUT

SOUNDS is the folder that holds the voices, such as /usr/share/asterisk/sounds.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

RATE = 16000  # of every G.722 stream, Hz
LEFT_OUT = ("silence", "beep", "beeperr", "ascending-2tone", "descending-2tone")  # no speech


def decode(path: Path) -> np.ndarray:
    """Return the samples (N,) int16 of one headerless G.722 file."""
    import av

    with av.open(str(path), format="g722") as container:
        frames = [frame.to_ndarray().reshape(-1) for frame in container.decode(audio=0)]
    return np.concatenate(frames) if frames else np.zeros(0, np.int16)


def main() -> int:
    """Decode every voice; a file that is there is not decoded again."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sounds", type=Path, help="folder of voices, each a tree of .g722 files")
    parser.add_argument("output", type=Path, help="where to; outside of the repository")
    args = parser.parse_args()
    try:
        import av  # noqa: F401
        import soundfile
    except ImportError as error:
        print(f"asterisk.py: error: {error.name} is missing: pip install av", file=sys.stderr)
        return 1
    files = sorted(args.sounds.rglob("*.g722"))
    if not files:
        print(f"asterisk.py: error: no .g722 file below {args.sounds}", file=sys.stderr)
        return 1
    seconds = 0.0
    for path in files:
        voice, *rest = path.relative_to(args.sounds).with_suffix("").parts
        if not rest or rest[0] in LEFT_OUT:
            continue
        # No "_": a name like abc1_x would be taken for another speaker's.
        name = "-".join(rest).replace("_", "-")
        target = args.output / voice / f"{name}.flac"
        if not target.is_file():
            samples = decode(path)
            if not len(samples):
                print(f"asterisk.py: {path} is empty, left out", file=sys.stderr)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            part = target.with_name(f".{target.name}")
            soundfile.write(part, samples, RATE, format="FLAC", subtype="PCM_16")
            part.replace(target)
        seconds += soundfile.info(target).duration
    print(f"{args.output}: {seconds / 60:.1f} minutes of speech")
    return 0


if __name__ == "__main__":
    sys.exit(main())
