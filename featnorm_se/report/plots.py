"""The page's plots. Each takes plain numbers and returns an ``<svg>`` element."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from featnorm_se.metrics.names import METRICS
from featnorm_se.report.curves import Curves
from featnorm_se.report.figure import GREY, INK, color, marker, new_figure, to_svg
from featnorm_se.report.paired import Comparison

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[np.float64]
Numbers = Mapping[str, int]

WIDTH = 6.4


def axis_label(metric: str) -> str:
    """Return a metric's name with its unit."""
    return f"{metric} ({METRICS[metric].unit})"


def _rows_height(rows: int) -> float:
    return 0.9 + 0.42 * rows


def training_curves(curves: Mapping[str, Curves], numbers: Numbers, title: str) -> str:
    """Draw the loss by epoch, valid as a line and train dashed, of several experiments.

    Args:
        curves: by label.
        numbers: each label's colour and marker.
        title: told to screen readers.
    """
    with new_figure(WIDTH, 3.4 + 0.2 * len(curves)) as figure:
        axes = figure.subplots()
        for label, phases in curves.items():
            i = numbers[label]
            for phase, points in phases.items():
                epochs, losses = zip(*points, strict=True)
                style = "-" if phase == "valid" else "--"
                axes.plot(
                    epochs,
                    losses,
                    style,
                    color=color(i),
                    marker=marker(i) if len(epochs) < 30 else None,
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
    """Draw the scores of every utterance, a row a model, with quartiles and the mean.

    Args:
        scores: values by label.
        numbers: each label's colour.
        metric: for the axis.
        title: told to screen readers.
    """
    with new_figure(WIDTH, _rows_height(len(scores))) as figure:
        axes = figure.subplots()
        shades = [_shade(label, numbers) for label in scores]
        _boxes(axes, [np.asarray(values) for values in scores.values()], list(scores), shades)
        axes.set(xlabel=axis_label(metric))
        return to_svg(figure, title)


def _shade(label: str, numbers: Numbers) -> str:
    """Return a label's colour; what has no number (the noisy input) is grey."""
    return color(numbers[label]) if label in numbers else GREY


def _boxes(axes: Axes, rows: Sequence[Array], labels: Sequence[str], shades: Sequence[str]) -> None:
    """Draw one box a row, its values as dots, and the mean as a diamond."""
    rng = np.random.default_rng(0)
    line: dict[str, Any] = {"color": INK, "linewidth": 1.0}
    for i, (values, shade) in enumerate(zip(rows, shades, strict=True)):
        strength = 0.6 if len(values) < 100 else 0.3
        spread = i + rng.uniform(-0.28, 0.28, len(values))
        axes.scatter(
            values, spread, s=9, color=shade, alpha=strength, linewidths=0, rasterized=True
        )
        axes.boxplot(
            values,
            positions=[i],
            orientation="horizontal",
            widths=0.62,
            showfliers=False,
            boxprops=line,
            whiskerprops=line,
            capprops=line,
            medianprops=line,
        )
        axes.scatter(float(values.mean()), i, marker="D", s=26, color=INK, zorder=4)
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.45, -0.55)
    axes.grid(True, axis="x")


def draw_differences(axes: Axes, comparisons: Mapping[str, Comparison], metric: str) -> None:
    """Draw the differences of every utterance, a row a comparison, with the mean's interval."""
    rows = [told.differences for told in comparisons.values()]
    _boxes(axes, rows, list(comparisons), [color(0)] * len(rows))
    for i, told in enumerate(comparisons.values()):
        axes.plot([told.low, told.high], [i, i], color=INK, linewidth=4, zorder=3)
    axes.axvline(0.0, color=INK, linewidth=1.0, linestyle=":")
    axes.set(xlabel=f"difference in {axis_label(metric)}")


def differences(comparisons: Mapping[str, Comparison], metric: str, title: str) -> str:
    """Draw paired differences as an ``<svg>``; see ``draw_differences``."""
    with new_figure(WIDTH, _rows_height(len(comparisons))) as figure:
        draw_differences(figure.subplots(), comparisons, metric)
        return to_svg(figure, title)


def by_snr(
    means: Mapping[str, Mapping[float, float]], numbers: Numbers, metric: str, title: str
) -> str:
    """Draw the mean score at each SNR, a line a model.

    Args:
        means: by label, by SNR in dB.
        numbers: each label's colour and marker; one without is grey and dotted.
        metric: for the axis.
        title: told to screen readers.
    """
    with new_figure(WIDTH, 3.2 + 0.2 * len(means)) as figure:
        axes = figure.subplots()
        for label, values in means.items():
            levels = sorted(values)
            known = label in numbers
            axes.plot(
                levels,
                [values[level] for level in levels],
                color=_shade(label, numbers),
                marker=marker(numbers[label]) if known else "x",
                markersize=5,
                linestyle="-" if known else ":",
                label=label,
            )
        levels = sorted({level for values in means.values() for level in values})
        axes.set_xticks(levels, [f"{level:g}" for level in levels])
        axes.set(xlabel="SNR of the noisy input (dB)", ylabel=axis_label(metric))
        axes.grid(True)
        figure.legend(loc="outside lower center", ncols=1)
        return to_svg(figure, title)


def spectrogram(
    signal: NDArray[np.float32], sample_rate: int, full_scale: float, title: str
) -> str:
    """Draw a log-magnitude spectrogram, 32 ms Hann frames every 8 ms, 80 dB deep.

    Args:
        signal: shape (N,).
        sample_rate: in Hz.
        full_scale: the magnitude that is 0 dB, the same for all pictures to be compared.
        title: told to screen readers.
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
