"""Matplotlib figures in the project's style, as inline SVG for the page or as PNG files."""

from __future__ import annotations

import hashlib
import html
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from featnorm_se.errors import FeatnormError
from featnorm_se.files import PathLike, atomic_path
from featnorm_se.metrics.names import METRICS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# M. Okabe and K. Ito, "Color universal design", 2008: told apart by colour-blind people. Black
# is the text colour here and yellow is lost on white, so both are left out.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
GREY = "#808080"
MARKERS = ("o", "s", "^", "D", "v", "P")
# Nothing is drawn in this colour but text and axes: in the page it becomes the text colour.
INK = "#010203"

_STYLE: Any = {
    "svg.fonttype": "none",
    "font.size": 10.0,
    "font.family": "sans-serif",
    "axes.titlesize": 10.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "legend.frameon": False,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    **{f"{part}.color": INK for part in ("text", "xtick", "ytick", "grid")},
    **{f"axes.{part}color": INK for part in ("edge", "label", "title")},
}


def series(index: int) -> dict[str, Any]:
    """Return colour and marker of a series: colour is never the only difference."""
    sign = MARKERS[(index + index // len(MARKERS)) % len(MARKERS)]
    return {"color": PALETTE[index % len(PALETTE)], "marker": sign}


def folded(label: str, width: int) -> str:
    """Break what is longer than so many characters into lines, at underscores and blanks."""
    piece = re.compile(rf".{{1,{width}}}$|.{{0,{width - 1}}}[_ ]|.{{{width}}}")
    return "\n".join(part for line in label.split("\n") for part in piece.findall(line))


def axis_label(metric: str) -> str:
    """Return a metric's name with its unit."""
    return f"{metric} ({METRICS[metric].unit})"


@contextmanager
def new_figure(width: float, height: float) -> Iterator[Figure]:
    """Give an empty figure of a size in inches; the project's style holds inside the block.

    Raises:
        FeatnormError: matplotlib is not installed.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        fault = f"plots need matplotlib ({error}): pip install 'featnorm_se[recipes]'"
        raise FeatnormError(fault) from error

    with matplotlib.rc_context(_STYLE):
        yield Figure(figsize=(width, height), layout="constrained")


def to_svg(figure: Figure, title: str) -> str:
    """Write a figure as an ``<svg>`` to put into a page; a screen reader says its title.

    Call it in the figure's block.
    """
    import matplotlib

    text = io.StringIO()
    # Names of clip paths must differ between the pictures of one page.
    salt = hashlib.sha256(title.encode()).hexdigest()[:8]
    with matplotlib.rc_context({"svg.hashsalt": salt}):
        figure.savefig(text, format="svg", dpi=110, metadata={"Date": None})
    svg = text.getvalue()
    view = re.search(r'viewBox="([^"]*)"', svg)
    label = html.escape(title, quote=True)
    head = f'<svg viewBox="{view[1] if view else ""}" role="img" aria-label="{label}">'
    svg = re.sub(r"\A.*?<svg[^>]*>", lambda _: head, svg, count=1, flags=re.DOTALL)
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->\n?", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    return svg.replace("xlink:href=", "href=").replace(INK, "currentColor")


def to_png(figure: Figure, path: PathLike) -> None:
    """Write a figure as a PNG file on white, whole or not at all."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150, facecolor="white")
