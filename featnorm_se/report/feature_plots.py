"""Plots of what ``features`` found, as PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from featnorm_se.report.distance import channel_gaps, principal_plane
from featnorm_se.report.features import FeatureLook
from featnorm_se.report.figure import PALETTE, new_figure, to_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {"clean": PALETTE[2], "noisy": PALETTE[1], "normalized": PALETTE[0]}
LABELS = {"clean": "clean", "noisy": "noisy", "normalized": "noisy, after FN"}
MOST_DOTS = 1500


def plot_distance(look: FeatureLook, path: Path, title: str) -> None:
    """Draw the gap in mean, in deviation and the Frechet distance of every site."""
    sites = list(look.frames)
    figures = {
        "mean_gap": "gap in mean (clean deviations)",
        "std_log2_ratio": "|log2 ratio| of deviations",
        "frechet": "Frechet distance",
    }
    with new_figure(12, 3.8) as figure:
        axes = figure.subplots(1, 3)
        for axis, (key, label) in zip(axes, figures.items(), strict=True):
            for name, marker in (("noisy", "o"), ("normalized", "s")):
                rows = {r["site"]: r[key] for r in look.distance if r["features"] == name}
                at = [sites.index(site) for site in rows]
                style: dict[str, Any] = {"marker": marker, "color": COLOURS[name]}
                line = "-" if len(at) > 1 else ""
                axis.plot(at, list(rows.values()), line, label=LABELS[name], **style)
            _layer_axis(axis, sites, label)
            axis.set_ylim(bottom=0)
        if max(r["frechet"] for r in look.distance) > 0:
            axes[2].set_yscale("symlog", linthresh=1.0)
        axes[0].legend()
        figure.suptitle(f"{title}: noisy against clean features before fine-tuning")
        to_png(figure, path)


def plot_drift(look: FeatureLook, path: Path, title: str) -> None:
    """Draw how alike clean features are before and after fine-tuning, layer by layer."""
    layers = [row["layer"] for row in look.drift]
    with new_figure(7, 3.8) as figure:
        axis = figure.subplots()
        for key, label, marker, colour in (
            ("cka", "centred kernel alignment", "o", PALETTE[0]),
            ("cosine", "mean cosine", "s", PALETTE[1]),
        ):
            values = [row[key] for row in look.drift]
            axis.plot(range(len(layers)), values, marker=marker, label=label, color=colour)
        _layer_axis(axis, layers, "likeness (1: no drift)")
        low = min(min(row["cka"], row["cosine"]) for row in look.drift)
        axis.set_ylim(min(0.0, low) - 0.02, 1.04)
        axis.legend()
        figure.suptitle(f"{title}: clean speech, fine-tuned against pre-trained")
        to_png(figure, path)


def _layer_axis(axis: Axes, names: Sequence[str], label: str) -> None:
    axis.set_xticks(range(len(names)), names, rotation=60, ha="right")
    axis.set_ylabel(label)
    axis.grid(axis="y", alpha=0.3)


def plot_frames(look: FeatureLook, path: Path, title: str, sites: Sequence[str]) -> None:
    """Draw, a row a site, frames on the clean ones' main plane and each channel's gaps."""
    with new_figure(11, 3.8 * len(sites)) as figure:
        axes = figure.subplots(len(sites), 2, squeeze=False)
        for (dots, channels), site in zip(axes, sites, strict=True):
            sets = look.frames[site]
            planes = principal_plane(*(x[:: -(-len(x) // MOST_DOTS)] for x in sets.values()))
            for name, plane in zip(sets, planes, strict=True):
                style: dict[str, Any] = {"color": COLOURS[name], "label": LABELS[name]}
                dots.scatter(plane[:, 0], plane[:, 1], s=5, alpha=0.35, **style)
                if name != "clean":
                    gap, _ = channel_gaps(sets["clean"], sets[name])
                    channels.plot(np.sort(gap), **style)
            dots.set(xlabel="first principal direction of clean frames", ylabel="second")
            dots.set_title(f"{site}: frames")
            for handle in dots.legend(markerscale=3).legend_handles:
                handle.set_alpha(1)
            channels.axhline(0, color=COLOURS["clean"], lw=1)
            channels.set(xlabel="channel, sorted by its gap")
            channels.set(ylabel="gap in mean (clean deviations)", title=f"{site}: channels")
            channels.legend()
        figure.suptitle(title)
        to_png(figure, path)
