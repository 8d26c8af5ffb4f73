"""Plots of what ``features`` found, as PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from featnorm_se.files import atomic_path
from featnorm_se.report.distance import channel_gaps, principal_plane
from featnorm_se.report.features import FeatureLook

# Okabe and Ito's colours, which colour-blind readers can tell apart.
COLOURS = {"clean": "#009E73", "noisy": "#D55E00", "normalized": "#0072B2"}
LABELS = {"clean": "clean", "noisy": "noisy", "normalized": "noisy, after FN"}
MOST_DOTS = 1500


def _figure(rows: int, columns: int, width: float, height: float) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False)


def _save(figure: Any, path: Path) -> None:
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")


def plot_distance(look: FeatureLook, path: Path, title: str) -> None:
    """Draw the gap in mean, in deviation and the Frechet distance of every site."""
    sites = list(look.frames)
    figure, axes = _figure(1, 3, 12, 3.8)
    figures = {
        "mean_gap": "gap in mean (clean deviations)",
        "std_log2_ratio": "|log2 ratio| of deviations",
        "frechet": "Frechet distance",
    }
    for axis, (key, label) in zip(axes[0], figures.items(), strict=True):
        for name in ("noisy", "normalized"):
            rows = {r["site"]: r[key] for r in look.distance if r["features"] == name}
            at = [sites.index(site) for site in rows]
            style = {"marker": "o" if name == "noisy" else "s", "color": COLOURS[name]}
            line = "-" if len(at) > 1 else ""
            axis.plot(at, list(rows.values()), line, label=LABELS[name], **style)
        axis.set_xticks(range(len(sites)), sites, rotation=60, ha="right")
        axis.set_ylabel(label)
        axis.set_ylim(bottom=0)
        axis.grid(axis="y", alpha=0.3)
    if max(r["frechet"] for r in look.distance) > 0:
        axes[0][2].set_yscale("symlog", linthresh=1.0)
    axes[0][0].legend()
    figure.suptitle(f"{title}: noisy against clean features before fine-tuning")
    _save(figure, path)


def plot_drift(look: FeatureLook, path: Path, title: str) -> None:
    """Draw how alike clean features are before and after fine-tuning, layer by layer."""
    layers = [row["layer"] for row in look.drift]
    figure, axes = _figure(1, 1, 7, 3.8)
    axis = axes[0][0]
    for key, label, marker, colour in (
        ("cka", "centred kernel alignment", "o", "#0072B2"),
        ("cosine", "mean cosine", "s", "#D55E00"),
    ):
        axis.plot(
            range(len(layers)),
            [r[key] for r in look.drift],
            marker=marker,
            label=label,
            color=colour,
        )
    axis.set_xticks(range(len(layers)), layers, rotation=60, ha="right")
    axis.set_ylabel("likeness (1: no drift)")
    low = min(min(r["cka"], r["cosine"]) for r in look.drift)
    axis.set_ylim(min(0.0, low) - 0.02, 1.04)
    axis.grid(axis="y", alpha=0.3)
    axis.legend()
    figure.suptitle(f"{title}: clean speech, fine-tuned against pre-trained")
    _save(figure, path)


def plot_frames(look: FeatureLook, path: Path, title: str, sites: Sequence[str]) -> None:
    """Draw, a row a site, frames on the clean ones' main plane and each channel's gaps."""
    figure, axes = _figure(len(sites), 2, 11, 3.8 * len(sites))
    for row, site in zip(axes, sites, strict=True):
        sets = look.frames[site]
        names = list(sets)
        planes = principal_plane(*(_dots(sets[name]) for name in names))
        for name, plane in zip(names, planes, strict=True):
            row[0].scatter(
                plane[:, 0], plane[:, 1], s=5, alpha=0.35, color=COLOURS[name], label=LABELS[name]
            )
        row[0].set_xlabel("first principal direction of clean frames")
        row[0].set_ylabel("second")
        row[0].set_title(f"{site}: frames")
        legend = row[0].legend(markerscale=3)
        for handle in legend.legend_handles:
            handle.set_alpha(1)
        for name in names[1:]:
            gap, _ = channel_gaps(sets["clean"], sets[name])
            row[1].plot(np.sort(gap), color=COLOURS[name], label=LABELS[name])
        row[1].axhline(0, color=COLOURS["clean"], lw=1)
        row[1].set_xlabel("channel, sorted by its gap")
        row[1].set_ylabel("gap in mean (clean deviations)")
        row[1].set_title(f"{site}: channels")
        row[1].legend()
    figure.suptitle(title)
    _save(figure, path)


def _dots(x: Any) -> Any:
    return x[:: -(-len(x) // MOST_DOTS)]
