"""The page's plots as SVG.

``title`` is what a screen reader says instead. ``numbers`` gives each label its colour and marker,
the same in all plots; what has none, the noisy input, is grey.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from featnorm_se.report.experiments import Curves, Scores
from featnorm_se.report.figure import (
    GREY,
    INK,
    PALETTE,
    axis_label,
    folded,
    new_figure,
    series,
    to_svg,
)
from featnorm_se.report.paired import Contrast

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Numbers = Mapping[str, int]

WIDTH = 6.4
_ROW, _LEGEND = 28, 60  # characters in a line of a row's name and of a legend


def training_curves(curves: Mapping[str, Curves], numbers: Numbers, title: str) -> str:
    """Draw the loss by epoch of several experiments by label: valid a line, train dashed."""
    names = [f"{label}, {phase}" for label in curves for phase in ("train", "valid")]
    with new_figure(WIDTH, 2.8 + _legend_height(names)) as figure:
        axes = figure.subplots()
        for label, phases in curves.items():
            for phase, points in phases.items():
                style = {**series(numbers[label]), "ms": 4, "markevery": -(-len(points) // 30)}
                line = "-" if phase == "valid" else "--"
                name = folded(f"{label}, {phase}", _LEGEND)
                axes.plot(*zip(*points, strict=True), line, label=name, **style)
        axes.set(xlabel="epoch", ylabel="loss")
        axes.locator_params(axis="x", integer=True)
        axes.grid(True)
        figure.legend(loc="outside lower center", ncols=1)
        return to_svg(figure, title)


def _legend_height(labels: Iterable[str]) -> float:
    """Return the inches that a legend below a plot needs."""
    return 0.2 * sum(folded(label, _LEGEND).count("\n") + 1 for label in labels)


def distributions(
    scores: Mapping[str, Sequence[float]], numbers: Numbers, metric: str, title: str
) -> str:
    """Draw the scores of every utterance by label, a row each, with quartiles and the mean."""
    with new_figure(WIDTH, 0.9 + _rows_height(scores)) as figure:
        axes = figure.subplots()
        shades = [series(numbers[k])["color"] if k in numbers else GREY for k in scores]
        _boxes(axes, [np.asarray(values) for values in scores.values()], list(scores), shades)
        axes.set(xlabel=axis_label(metric))
        return to_svg(figure, title)


def _rows_height(labels: Collection[str]) -> float:
    """Return the inches that rows with these names need."""
    lines = 1 + max((folded(label, _ROW).count("\n") for label in labels), default=0)
    return max(0.42, 0.17 * lines) * len(labels)


def _boxes(
    axes: Axes, rows: Sequence[NDArray[np.float64]], labels: Sequence[str], shades: Sequence[str]
) -> None:
    """Draw one box a row, its values as dots, and the mean as a diamond."""
    rng = np.random.default_rng(0)
    line: dict[str, Any] = {"color": INK, "linewidth": 1.0}
    style: dict[str, Any] = {
        **{f"{kind}props": line for kind in ("box", "whisker", "cap", "median")},
        **{"orientation": "horizontal", "widths": 0.62, "showfliers": False},
    }
    for i, (values, shade) in enumerate(zip(rows, shades, strict=True)):
        alpha = 0.6 if len(values) < 100 else 0.3
        spread = i + rng.uniform(-0.28, 0.28, len(values))
        axes.scatter(values, spread, s=9, color=shade, alpha=alpha, linewidths=0, rasterized=True)
        axes.boxplot(values, positions=[i], **style)
        axes.scatter(float(values.mean()), i, marker="D", s=26, color=INK, zorder=4)
    axes.set_yticks(range(len(labels)), [folded(label, _ROW) for label in labels])
    axes.set_ylim(len(labels) - 0.45, -0.55)
    axes.grid(True, axis="x")


def differences(comparisons: Mapping[str, Contrast], metric: str, title: str) -> str:
    """Draw paired differences of every utterance, a row a comparison, as an ``<svg>``."""
    with new_figure(WIDTH, 0.9 + _rows_height(comparisons)) as figure:
        axes = figure.subplots()
        rows = [comparison.values[0] for comparison in comparisons.values()]
        _boxes(axes, rows, list(comparisons), [PALETTE[0]] * len(rows))
        for i, comparison in enumerate(comparisons.values()):
            if interval := comparison.interval:
                axes.plot(interval, [i, i], color=INK, linewidth=4, zorder=3)
        axes.axvline(0.0, color=INK, linewidth=1.0, linestyle=":")
        axes.locator_params(axis="x", nbins=5)
        axes.set(xlabel=f"difference in {axis_label(metric)}")
        return to_svg(figure, title)


def by_snr(
    means: Mapping[str, Mapping[float, float]], numbers: Numbers, metric: str, title: str
) -> str:
    """Draw the mean score by label and SNR (dB), a line a label."""
    with new_figure(WIDTH, 2.8 + _legend_height(means)) as figure:
        axes = figure.subplots()
        for label, values in means.items():
            style: dict[str, Any] = {"color": GREY, "marker": "x", "linestyle": ":"}
            style |= {**series(numbers[label]), "linestyle": "-"} if label in numbers else {}
            points = zip(*sorted(values.items()), strict=True)
            axes.plot(*points, markersize=5, label=folded(label, _LEGEND), **style)
        levels = sorted({level for values in means.values() for level in values})
        axes.set_xticks(levels, [f"{level:g}" for level in levels])
        axes.set(xlabel="SNR of the noisy input (dB)", ylabel=axis_label(metric))
        axes.grid(True)
        figure.legend(loc="outside lower center", ncols=1)
        return to_svg(figure, title)


def drifts(members: Mapping[str, Scores], numbers: Numbers, title: str) -> str:
    """Draw alignment by layer, a line an experiment of one upstream."""
    with new_figure(WIDTH, 2.8 + _legend_height(members)) as figure:
        axes = figure.subplots()
        for label, rows in members.items():
            style = {**series(numbers.get(label, 0)), "label": folded(label, _LEGEND)}
            axes.plot([row["cka"] for row in rows.values()], **style)
        layer_axis(axes, list(next(iter(members.values()))), "alignment with the start")
        figure.legend(loc="outside lower center", ncols=1)
        return to_svg(figure, title)


def spectrogram(
    signal: NDArray[np.float32], sample_rate: int, full_scale: float, title: str
) -> str:
    """Draw a log-magnitude spectrogram, 32 ms Hann frames every 8 ms, 80 dB deep.

    The signal has shape (N,) at a rate in Hz; ``full_scale`` is the magnitude that is 0 dB, the
    same for all pictures to be compared.
    """
    levels = 20 * np.log10(np.maximum(magnitudes(signal, sample_rate) / full_scale, 1e-6))
    with new_figure(4.2, 2.1) as figure:
        axes = figure.subplots()
        style: dict[str, Any] = {"cmap": "cividis", "vmin": -80.0, "vmax": 0.0}
        extent = (0.0, len(signal) / sample_rate, 0.0, sample_rate / 2000.0)
        picture = axes.imshow(levels.T, origin="lower", aspect="auto", extent=extent, **style)
        axes.set(xlabel="time (s)", ylabel="frequency (kHz)")
        figure.colorbar(picture, ax=axes, label="level (dB)", pad=0.02)
        return to_svg(figure, title)


def magnitudes(signal: NDArray[np.float32], sample_rate: int) -> NDArray[np.float64]:
    """Return STFT magnitudes, shape (frames, bins), of 32 ms Hann frames every 8 ms."""
    size = max(4, int(0.032 * sample_rate))
    padded = np.pad(signal.astype(np.float64), (0, max(0, size - len(signal))))
    view = np.lib.stride_tricks.sliding_window_view(padded, size)[:: size // 4]
    return np.asarray(np.abs(np.fft.rfft(view * np.hanning(size), axis=1)))


def layer_axis(axis: Axes, names: Sequence[str], label: str) -> None:
    """Name the places of an axis by layer."""
    axis.set_xticks(range(len(names)), names, rotation=60, ha="right")
    axis.set_ylabel(label)
    axis.grid(axis="y")
