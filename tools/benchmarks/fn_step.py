#!/usr/bin/env python3
"""What feature normalization costs in a fine-tuning step."""

from __future__ import annotations

import argparse

import numpy as np
import torch
from timing import in_turn, print_ratios

from featnorm_se.model.separator import FeatNormSeparator
from featnorm_se.statistics import FeatureStats, SiteStats
from featnorm_se.upstream import load_upstream


def step(separator: FeatNormSeparator, spectrum: torch.Tensor, lengths: torch.Tensor) -> None:
    """Run forward and backward once."""
    separator.zero_grad(set_to_none=True)
    (enhanced,), _, _ = separator(spectrum, lengths)
    enhanced.abs().mean().backward()


def main() -> None:
    """Time and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--upstream", default="wavlm")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one second of a small model, once")
    args = parser.parse_args()
    if args.quick:
        args.upstream, args.batch, args.seconds, args.repetitions = "tera", 1, 1.0, 1
    samples = int(16000 * args.seconds)
    window = torch.hann_window(400)
    wav = torch.randn(args.batch, samples) * 0.05
    spectrum = torch.stft(wav, 512, 160, 400, window, return_complex=True).transpose(1, 2)
    lengths = torch.full((args.batch,), spectrum.shape[1])
    weights = load_upstream(args.upstream, "scratch").state_dict()
    contestants = {}
    for norm in ("none", "utterance"):
        separator = FeatNormSeparator(257, upstream=args.upstream, norm=norm).train()
        rng = np.random.default_rng(0)
        sites = separator.upstream.sites
        stats = {s: SiteStats.of(rng.normal(size=(50, sites[s]))) for s in separator.norm_sites}
        separator.start_from(weights, FeatureStats(stats, {}))
        contestants[f"step, norm {norm}"] = lambda model=separator: step(model, spectrum, lengths)
    norm = separator.upstream.norms["frontend" if "frontend" in stats else "projection"]
    x = torch.randn(args.batch, samples // 320, norm.mean.shape[0], requires_grad=True)
    valid = torch.full((args.batch,), x.shape[1])
    contestants["FN alone, forward and backward"] = lambda: norm(x, valid).sum().backward()
    seconds = in_turn(contestants, args.repetitions)
    print_ratios(
        seconds,
        {
            "utterance / none": ("step, norm utterance", "step, norm none"),
            "FN alone / step": ("FN alone, forward and backward", "step, norm none"),
        },
    )


if __name__ == "__main__":
    main()
