#!/usr/bin/env python3
"""Clean statistics at Base size: ours against s3prl's full forward and the bare part needed."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import soundfile
import torch
from timing import in_turn, print_ratios

from featnorm_se.collection import collect
from featnorm_se.data.audio import read_audio
from featnorm_se.upstream import load_upstream


def main() -> None:
    """Time and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--upstream", default="wavlm")
    parser.add_argument("--utterances", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one second, once")
    args = parser.parse_args()
    if args.quick:
        args.utterances, args.seconds, args.repetitions = 1, 1.0, 1
    upstream = load_upstream(args.upstream, "scratch").eval()
    model = upstream.model
    with tempfile.TemporaryDirectory() as folder:
        rng = np.random.default_rng(0)
        entries = {}
        for index in range(args.utterances):
            path = Path(folder) / f"u{index}.flac"
            soundfile.write(path, rng.normal(size=int(16000 * args.seconds)) * 0.05, 16000)
            entries[f"u{index}"] = str(path)

        def over_files(run) -> None:
            with torch.inference_mode():
                for path in entries.values():
                    run(torch.from_numpy(read_audio(path))[None])

        def partial(wav: torch.Tensor, site: str) -> None:
            upstream.extract(wav, torch.tensor([wav.shape[1]]), [site], apply_norms=False)

        seconds = in_turn(
            {
                "s3prl: full forward": lambda: over_files(model.extract_features),
                "s3prl: convolutional encoder": lambda: over_files(model.feature_extractor),
                "partial forward to layer.1": lambda: over_files(lambda w: partial(w, "layer.1")),
                "ours: statistics at frontend": lambda: collect(upstream, entries, ["frontend"]),
                "ours: statistics at layer.1": lambda: collect(upstream, entries, ["layer.1"]),
            },
            args.repetitions,
        )
    ours, full = "ours: statistics at", "s3prl: full forward"
    print_ratios(
        seconds,
        {
            "frontend / convolutional encoder": (
                f"{ours} frontend",
                "s3prl: convolutional encoder",
            ),
            "layer.1 / partial forward": (f"{ours} layer.1", "partial forward to layer.1"),
            "full forward / frontend": (full, f"{ours} frontend"),
            "full forward / layer.1": (full, f"{ours} layer.1"),
        },
    )


if __name__ == "__main__":
    main()
