"""Pieces of HTML. Everything that comes from outside goes through ``esc``."""

from __future__ import annotations

import html
from collections.abc import Sequence

from featnorm_se.report.style import CSS


def esc(text: object) -> str:
    """Escape text for HTML, attributes too."""
    return html.escape(str(text), quote=True)


def table(
    caption: str, rows: Sequence[Sequence[str]], words: int = 1, best: Sequence[int] = ()
) -> str:
    """Write a table with a heading row; it scrolls sideways when the screen is narrow.

    Args:
        caption: what it shows.
        rows: the heading and the rows; the first column heads its row.
        words: so many columns at the left are words, the others numbers.
        best: columns whose highest value is set in bold.
    """
    heading, *body = rows
    tops = {column: _top(body, column) for column in best}
    kinds = [' class="word"' if i < words else "" for i in range(len(heading))]
    head = "".join(
        f'<th scope="col"{kind}>{esc(cell)}</th>' for kind, cell in zip(kinds, heading, strict=True)
    )
    lines = []
    for row in body:
        # Long names may break after an underscore.
        cells = [f'<th scope="row">{esc(row[0]).replace("_", "_<wbr>")}</th>']
        for i, cell in enumerate(row[1:], start=1):
            text = f"<strong>{esc(cell)}</strong>" if cell and cell == tops.get(i) else esc(cell)
            cells.append(f"<td{kinds[i]}>{text}</td>")
        lines.append(f"<tr>{''.join(cells)}</tr>")
    # The caption stands outside, so that it does not scroll away with the columns.
    return (
        f'<p class="caption">{esc(caption)}</p>'
        f'<div class="wide" tabindex="0" role="region" aria-label="{esc(caption)}">'
        f'<table aria-label="{esc(caption)}"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _top(rows: Sequence[Sequence[str]], column: int) -> str:
    values = [row[column] for row in rows if row[column]]
    return max(values, key=float) if len(values) > 1 else ""


def figure(svg: str, caption: str) -> str:
    """Write a picture with its caption."""
    return f"<figure>{svg}<figcaption>{esc(caption)}</figcaption></figure>"


def figures(pictures: Sequence[str]) -> str:
    """Lay pictures out beside each other where there is room."""
    return f'<div class="figures">{"".join(pictures)}</div>' if pictures else ""


def folded(summary: str, content: str) -> str:
    """Write content that opens on request."""
    return f"<details><summary>{esc(summary)}</summary>{content}</details>"


def document(title: str, sections: Sequence[tuple[str, str, str]]) -> str:
    """Write the page.

    Args:
        title: its heading.
        sections: anchor, heading and content (HTML) of each.
    """
    links = "".join(f'<li><a href="#{a}">{esc(h)}</a></li>' for a, h, _ in sections)
    body = "\n".join(
        f'<section aria-labelledby="{a}"><h2 id="{a}">{esc(h)}</h2>\n{content}\n</section>'
        for a, h, content in sections
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{esc(title)}</title>
<link rel="icon" href="data:,">
<style>{CSS}</style>
</head>
<body>
<a class="skip" href="#main">Skip to the results</a>
<header><h1>{esc(title)}</h1>
<nav aria-label="Sections"><ul>{links}</ul></nav></header>
<main id="main">
{body}
</main>
</body>
</html>
"""
