"""A gathered table as Markdown, CSV and LaTeX."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from estimate import DELTAS, Estimate, format_difference, one_more
from gather import Line

from featnorm_se.files import csv_text
from featnorm_se.metrics.names import METRICS
from featnorm_se.metrics.summary import format_value
from featnorm_se.report.results import (
    INTERNAL,
    format_duration,
    format_parameters,
    markdown_table,
)

_DRIFT = {
    "cka": "CKA",
    "cosine": "cosine",
    "last_cka": "CKA, last layer",
    "last_cosine": "cosine, last layer",
}
_MINUS = re.compile(r"(?<![\w.])-(?=\d)")  # in LaTeX's text a hyphen is no minus
_LATEX = {
    **{character: f"\\{character}" for character in "#$%&_{}"},
    "\\": "\\textbackslash{}",
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
    "±": "$\\pm$",
    "Δ": "$\\Delta$",
}

NOTE = (
    "Mean over seeds ± half of its 95 % interval (Student's t; none from one seed). One more run:"
    " where one further run, of another seed or on another machine, falls 95 times of 100. Δ:"
    " difference to the baseline, paired by seed and utterance, over the seeds of both, with its"
    " 95 % bootstrap interval over seeds and utterances (from one seed: over utterances alone,"
    " which says nothing about other seeds). Training time: mean over seeds. An empty cell was not"
    " measured."
)


DRIFT_NOTE = (
    " CKA, cosine: likeness of the clean features before and after fine-tuning, mean over layers;"
    " 1: nothing has moved."
)


def shown(lines: Sequence[Line]) -> list[str]:
    """Return the metrics that any row has, in the usual order."""
    return [m for m in METRICS if m not in INTERNAL and any(m in line.values for line in lines)]


def cells(lines: Sequence[Line], drift: bool = False) -> list[list[str]]:
    """Return the table as text: a heading and a row a line; unknown cells are empty.

    With ``drift`` it has the columns of the distance from the pre-trained model.
    """
    metrics, drifts = shown(lines), list(_DRIFT) if drift else []
    changing = [name for name in DELTAS if name in metrics]
    trained = settings(lines)
    more = ["settings"] if any(trained) else []
    heading = ["row", "upstream", "weights", "norm", "site", *more, "seeds", *metrics]
    heading += [f"one more run: {name}" for name in changing]
    heading += [_DRIFT[name] for name in drifts]
    heading += ["baseline", *(f"Δ {name}" for name in DELTAS), "parameters", "training"]
    most = max((line.seeds for line in lines), default=0)
    table = [heading]
    for line, own in zip(lines, trained, strict=True):
        row, values = line.row, line.values
        few = 0 < line.seeds < most and not row.is_noisy  # its mean is over fewer than theirs
        table.append(
            [
                *(row.name, row.upstream, row.weights, row.norm, row.site),
                *([own] if more else []),
                f"{line.seeds} of {most}" if few else str(line.seeds or ""),
                *(_value(values.get(name), METRICS[name].decimals) for name in metrics),
                *(_one_more(values.get(name), line.seeds, name) for name in changing),
                *(_value(values.get(name), 3) for name in drifts),
                row.baseline,
                *(
                    format_difference(values.get(f"delta_{name}"), METRICS[name].decimals)
                    for name in DELTAS
                ),
                format_parameters(line.parameters),
                format_duration(line.seconds),
            ]
        )
    return table


def settings(lines: Sequence[Line]) -> list[str]:
    """Return what each row is trained with, where they differ: its YAML's name and its ``set``."""
    differ = len({line.row.config for line in lines if not line.row.is_noisy}) > 1
    rows = [line.row for line in lines]
    named = [Path(row.config).stem if differ else "" for row in rows]
    return [f"{name} {row.overrides}".strip() for name, row in zip(named, rows, strict=True)]


def _value(estimate: Estimate | None, decimals: int) -> str:
    if estimate is None:
        return ""
    mean = f"{estimate.mean:.{decimals}f}"
    if estimate.low is None or estimate.high is None:
        return mean
    return f"{mean} ± {(estimate.high - estimate.low) / 2:.{decimals}f}"


def _one_more(estimate: Estimate | None, seeds: int, metric: str) -> str:
    ends = one_more(estimate, seeds)
    return " to ".join(format_value(metric, end) for end in ends) if ends else ""


def _note(drift: bool, caveats: Sequence[str]) -> str:
    """Return what the cells are, and why some should not be compared."""
    return NOTE + DRIFT_NOTE * drift + "".join(f" **{caveat}**" for caveat in caveats)


def to_markdown(
    lines: Sequence[Line], title: str, drift: bool = False, caveats: Sequence[str] = ()
) -> str:
    """Return the table as Markdown, with a heading and what its cells are."""
    rows = [[cell.replace("|", "\\|") for cell in row] for row in cells(lines, drift)]
    table = markdown_table(rows, rows[0].index("seeds"))
    return "\n".join([f"# {title}", "", _note(drift, caveats), "", *table]) + "\n"


def to_latex(
    lines: Sequence[Line], title: str, drift: bool = False, caveats: Sequence[str] = ()
) -> str:
    """Return the table as a LaTeX ``tabular`` for the package booktabs, without empty columns."""
    table = cells(lines, drift)
    filled = [
        i for i, column in enumerate(zip(*table, strict=True)) if not lines or any(column[1:])
    ]
    heading, *body = [[row[i] for i in filled] for row in table]

    def row(values: Sequence[str]) -> str:
        escaped = ("".join(_LATEX.get(c, c) for c in value) for value in values)
        return " & ".join(_MINUS.sub("$-$", value) for value in escaped) + r" \\"

    columns = "".join("l" if i < table[0].index("seeds") else "r" for i in filled)
    parts = [
        f"% {title}. {_note(drift, caveats)}",
        f"\\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        row(heading),
        r"\midrule",
        *map(row, body),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(parts) + "\n"


def to_csv(lines: Sequence[Line], drift: bool = False) -> str:
    """Return the table as CSV: plain numbers, an interval as two columns, six decimals."""
    judged = {*(f"delta_{m}" for m in DELTAS), *(key for line in lines for key in line.values)}
    differences = [name for name in METRICS if f"delta_{name}" in judged]
    columns = [*shown(lines), *(_DRIFT if drift else ()), *(f"delta_{n}" for n in differences)]
    head = ["row", "upstream", "weights", "norm", "norm_site", "settings", "baseline", "seeds"]
    spread = [f"{name}{end}" for name in columns for end in ("", "_low", "_high")]
    ends = [f"{name}_one_more_{end}" for name in DELTAS for end in ("low", "high")]
    last = ["parameters", "trainable", "training_seconds"]
    table: list[list[object]] = [[*head, *spread, *ends, *last]]
    for line, own in zip(lines, settings(lines), strict=True):
        row = line.row
        written: list[str] = []
        for name in columns:
            written += line.values[name].cells() if name in line.values else [""] * 3
        for name in DELTAS:
            ends_of = one_more(line.values.get(name), line.seeds)
            written += [f"{end:.6f}" for end in ends_of] if ends_of else [""] * 2
        words = [row.name, row.upstream, row.weights, row.norm, row.site, own, row.baseline]
        counts = [line.parameters.get(name) for name in ("total", "trainable")]
        table.append([*words, line.seeds or "", *written, *counts, line.seconds])
    return csv_text(table)
