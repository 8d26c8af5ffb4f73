"""The page's plots, and that of a comparison. Each takes plain numbers.

``title`` is what a screen reader says instead. ``numbers`` gives each label its colour and marker,
the same in all plots; what has none, the noisy input, is grey.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from featnorm_se.report.experiments import Curves, Drift
from featnorm_se.report.figure import (
    GREY,
    INK,
    axis_label,
    color,
    marker,
    new_figure,
    to_png,
    to_svg,
)
from featnorm_se.report.paired import Contrast

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Numbers = Mapping[str, int]

WIDTH = 6.4


def _rows_height(rows: int) -> float:
    return 0.9 + 0.42 * rows


def training_curves(curves: Mapping[str, Curves], numbers: Numbers, title: str) -> str:
    """Draw the loss by epoch of several experiments by label: valid a line, train dashed."""
    with new_figure(WIDTH, 3.4 + 0.2 * len(curves)) as figure:
        axes = figure.subplots()
        for label, phases in curves.items():
            number = numbers[label]
            for phase, points in phases.items():
                epochs, losses = zip(*points, strict=True)
                axes.plot(
                    epochs,
                    losses,
                    "-" if phase == "valid" else "--",
                    color=color(number),
                    marker=marker(number) if len(epochs) < 30 else None,
                    markersize=4,
                    label=f"{label}, {phase}",
                )
        axes.set(xlabel="epoch", ylabel="loss")
        axes.locator_params(axis="x", integer=True)
        axes.grid(True)
        figure.legend(loc="outside lower center", ncols=1)
        return to_svg(figure, title)


def distributions(
    scores: Mapping[str, Sequence[float]], numbers: Numbers, metric: str, title: str
) -> str:
    """Draw the scores of every utterance by label, a row each, with quartiles and the mean."""
    with new_figure(WIDTH, _rows_height(len(scores))) as figure:
        axes = figure.subplots()
        shades = [color(numbers[label]) if label in numbers else GREY for label in scores]
        _boxes(axes, [np.asarray(values) for values in scores.values()], list(scores), shades)
        axes.set(xlabel=axis_label(metric))
        return to_svg(figure, title)


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
        strength = 0.6 if len(values) < 100 else 0.3
        spread = i + rng.uniform(-0.28, 0.28, len(values))
        axes.scatter(
            values, spread, s=9, color=shade, alpha=strength, linewidths=0, rasterized=True
        )
        axes.boxplot(values, positions=[i], **style)
        axes.scatter(float(values.mean()), i, marker="D", s=26, color=INK, zorder=4)
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.45, -0.55)
    axes.grid(True, axis="x")


def differences(comparisons: Mapping[str, Contrast], metric: str, title: str) -> str:
    """Draw paired differences of every utterance, a row a comparison, as an ``<svg>``."""
    with new_figure(WIDTH, _rows_height(len(comparisons))) as figure:
        _draw_differences(figure.subplots(), comparisons, metric)
        return to_svg(figure, title)


def write_differences(
    comparisons: Mapping[str, Contrast], metric: str, path: str | os.PathLike[str]
) -> None:
    """Draw paired differences of every utterance, a row a comparison, as a PNG file."""
    with new_figure(8.0, 1.2 + 0.6 * len(comparisons)) as figure:
        _draw_differences(figure.subplots(), comparisons, metric)
        to_png(figure, path)


def _draw_differences(axes: Axes, comparisons: Mapping[str, Contrast], metric: str) -> None:
    rows = [comparison.values[0] for comparison in comparisons.values()]
    _boxes(axes, rows, list(comparisons), [color(0)] * len(rows))
    for i, comparison in enumerate(comparisons.values()):
        axes.plot(comparison.interval(), [i, i], color=INK, linewidth=4, zorder=3)
    axes.axvline(0.0, color=INK, linewidth=1.0, linestyle=":")
    axes.set(xlabel=f"difference in {axis_label(metric)}")


def by_snr(
    means: Mapping[str, Mapping[float, float]], numbers: Numbers, metric: str, title: str
) -> str:
    """Draw the mean score by label and SNR (dB), a line a label."""
    with new_figure(WIDTH, 3.2 + 0.2 * len(means)) as figure:
        axes = figure.subplots()
        for label, values in means.items():
            levels = sorted(values)
            style: dict[str, Any] = {"color": GREY, "marker": "x", "linestyle": ":"}
            if label in numbers:
                number = numbers[label]
                style = {"color": color(number), "marker": marker(number), "linestyle": "-"}
            heights = [values[level] for level in levels]
            axes.plot(levels, heights, markersize=5, label=label, **style)
        levels = sorted({level for values in means.values() for level in values})
        axes.set_xticks(levels, [f"{level:g}" for level in levels])
        axes.set(xlabel="SNR of the noisy input (dB)", ylabel=axis_label(metric))
        axes.grid(True)
        figure.legend(loc="outside lower center", ncols=1)
        return to_svg(figure, title)


def drifts(members: Mapping[str, Sequence[Drift]], numbers: Numbers, title: str) -> str:
    """Draw alignment by layer, a line an experiment of one upstream."""
    with new_figure(7, 3.4) as figure:
        axes = figure.subplots()
        for label, rows in members.items():
            number = numbers.get(label, 0)
            style: dict[str, Any] = {"color": color(number), "marker": marker(number)}
            axes.plot(range(len(rows)), [row.cka for row in rows], label=label, **style)
        layers = [row.layer for row in next(iter(members.values()))]
        axes.set_xticks(range(len(layers)), layers, rotation=60, ha="right")
        axes.set_ylabel("alignment with the start")
        axes.grid(axis="y")
        axes.legend()
        return to_svg(figure, title)


def spectrogram(
    signal: NDArray[np.float32], sample_rate: int, full_scale: float, title: str
) -> str:
    """Draw a log-magnitude spectrogram, 32 ms Hann frames every 8 ms, 80 dB deep.

    Args:
        signal: shape (N,).
        sample_rate: in Hz.
        full_scale: the magnitude that is 0 dB, the same for all pictures to be compared.
        title: as for all plots.
    """
    levels = 20 * np.log10(np.maximum(magnitudes(signal, sample_rate) / full_scale, 1e-6))
    seconds = len(signal) / sample_rate
    with new_figure(4.2, 2.1) as figure:
        axes = figure.subplots()
        picture = axes.imshow(
            levels.T,
            origin="lower",
            aspect="auto",
            cmap="cividis",
            vmin=-80.0,
            vmax=0.0,
            extent=(0.0, seconds, 0.0, sample_rate / 2000.0),
        )
        axes.set(xlabel="time (s)", ylabel="frequency (kHz)")
        figure.colorbar(picture, ax=axes, label="level (dB)", pad=0.02)
        return to_svg(figure, title)


def magnitudes(signal: NDArray[np.float32], sample_rate: int) -> NDArray[np.float64]:
    """Return STFT magnitudes, shape (frames, bins), of 32 ms Hann frames every 8 ms."""
    size = int(0.032 * sample_rate)
    padded = np.pad(signal.astype(np.float64), (0, max(0, size - len(signal))))
    view = np.lib.stride_tricks.sliding_window_view(padded, size)[:: size // 4]
    return np.asarray(np.abs(np.fft.rfft(view * np.hanning(size), axis=1)))
