"""Plots of features as PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from feature_look import FeatureLook, channel_gaps, principal_plane

from featnorm_se.report.figure import PALETTE, folded, new_figure, to_png
from featnorm_se.report.plots import layer_axis

MOST_DOTS = 1500
_COLOURS = {"clean": PALETTE[2], "noisy": PALETTE[1], "normalized": PALETTE[0]}
_SIGNS = {"noisy": "o", "normalized": "s"}
_LABELS = {"clean": "clean", "noisy": "noisy", "normalized": "noisy, after the norm"}


def plot_distance(look: FeatureLook, path: Path, title: str) -> None:
    """Draw the gap in mean and in deviation of every site."""
    sites = list(look.frames)
    figures = {
        "mean_gap": "|gap in mean| (clean deviations)",
        "std_log2_ratio": "|log2 ratio| of deviations",
    }
    with new_figure(9, 3.8) as figure:
        axes = figure.subplots(1, 2)
        for axis, (key, label) in zip(axes, figures.items(), strict=True):
            for name in dict.fromkeys(row["features"] for row in look.distance):
                rows = {r["site"]: r[key] for r in look.distance if r["features"] == name}
                at = [sites.index(site) for site in rows]
                style: dict[str, Any] = {"marker": _SIGNS[name], "color": _COLOURS[name]}
                axis.plot(at, list(rows.values()), label=_LABELS[name], **style)
            layer_axis(axis, sites, label)
            axis.set_ylim(bottom=0)
        axes[0].legend()
        figure.suptitle(folded(f"{title}: noisy against clean features before fine-tuning", 80))
        to_png(figure, path)


def plot_frames(look: FeatureLook, path: Path, title: str, sites: Sequence[str]) -> None:
    """Draw, a row a site, frames on the clean ones' main plane and each channel's gaps."""
    with new_figure(11, 3.8 * len(sites)) as figure:
        axes = figure.subplots(len(sites), 2, squeeze=False)
        for (dots, channels), site in zip(axes, sites, strict=True):
            sets = look.frames[site]
            planes = principal_plane(*(x[:: -(-len(x) // MOST_DOTS)] for x in sets.values()))
            for name, plane in zip(sets, planes, strict=True):
                style: dict[str, Any] = {"color": _COLOURS[name], "label": _LABELS[name]}
                dots.scatter(plane[:, 0], plane[:, 1], s=5, alpha=0.35, **style)
                if name != "clean":
                    gap, _ = channel_gaps(sets["clean"], sets[name])
                    channels.plot(np.sort(gap), **style)
            dots.set(xlabel="first principal direction of clean frames", ylabel="second")
            dots.set_title(f"{site}: frames")
            for handle in dots.legend(markerscale=3).legend_handles:
                handle.set_alpha(1)
            channels.axhline(0, color=_COLOURS["clean"], lw=1)
            channels.set(xlabel="channel, sorted by its gap")
            channels.set(ylabel="gap in mean (clean deviations)", title=f"{site}: channels")
            channels.legend()
        figure.suptitle(folded(title, 80))
        to_png(figure, path)
