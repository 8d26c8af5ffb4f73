"""Named questions to a grid of runs: differences of rows over seeds and utterances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from estimate import DELTAS, Estimate, format_difference, of_contrast, over_seeds

from featnorm_se.config import read_config
from featnorm_se.errors import FeatnormError
from featnorm_se.files import csv_text
from featnorm_se.metrics.names import METRICS
from featnorm_se.report.experiments import NOISY, SCORES_PREFIX, read_scores
from featnorm_se.report.paired import Scores, contrast

_KEYS = {"name", "a", "b", "minus"}

NOTE = (
    "Each row is A minus B: the mean over the seeds that all its runs have and over the utterances,"
    " paired by both, with its 95 % bootstrap interval over seeds and utterances (from one seed:"
    " over utterances alone). Up: seeds whose own mean is above zero. CKA: of clean"
    " features before and after fine-tuning, mean over layers (above zero: A has moved less), with"
    " Student's interval over seeds, where it was measured. Runs that are not there are listed"
    " below, and what is asked of them is left out."
)


@dataclass(frozen=True)
class Question:
    """One comparison.

    Attributes:
        group: heading that it stands under.
        name: what it asks.
        a, b: names of runs without ``_seed<N>``; asked is a minus b.
        minus: another pair whose difference is taken off: a difference of differences.
    """

    group: str
    name: str
    a: str
    b: str
    minus: tuple[str, str] | None = None

    @property
    def weights(self) -> list[tuple[float, str]]:
        """Return what each row counts."""
        more = [(-1.0, self.minus[0]), (1.0, self.minus[1])] if self.minus else []
        return [(1.0, self.a), (-1.0, self.b), *more]


@dataclass(frozen=True)
class Answer:
    """What the runs say to a question.

    Attributes:
        question: what was asked.
        seeds: those that all its rows have.
        estimates: by metric; nothing when there is no such seed.
        up: seeds whose own mean is above zero, by metric.
        drift: difference in CKA (``by_row.mean_drift``), Student's interval over the seeds whose
            drift was measured in all rows; ``None``: there is no such seed.
    """

    question: Question
    seeds: list[int]
    estimates: dict[str, Estimate] = field(default_factory=dict)
    up: dict[str, int] = field(default_factory=dict)
    drift: Estimate | None = None


Runs = Mapping[str, Mapping[int, Scores]]
Drifts = Mapping[str, Mapping[int, float]]


def read_questions(path: Path) -> list[Question]:
    """Read a YAML of groups: a list of ``name``, ``a``, ``b`` and perhaps ``minus: [c, d]`` each.

    Raises:
        FeatnormError: it cannot be read, or an entry has other keys.
    """
    return [
        _question(group, entry, path)
        for group, entries in read_config(path).items()
        for entry in (entries if isinstance(entries, list) else [entries])
    ]


def _question(group: str, entry: object, path: Path) -> Question:
    if isinstance(entry, dict) and _KEYS - {"minus"} <= entry.keys() <= _KEYS:
        name, a, b = (str(entry[key]) for key in ("name", "a", "b"))
        minus = entry.get("minus", [])
        if isinstance(minus, list) and len(minus) in (0, 2):
            return Question(group, name, a, b, (str(minus[0]), str(minus[1])) if minus else None)
    raise FeatnormError(
        f"{path}: under {group!r}: an entry has name, a, b and perhaps minus: [c, d]"
    )


def read_runs(
    expdir: Path, tags: Sequence[str], seeds: Sequence[int], testset: str = "test"
) -> dict[str, dict[int, Scores]]:
    """Read the scores of every run that is there, by row and seed; a row may have none.

    Args:
        expdir: folder of experiments ``<tag>_seed<N>``, and of ``noisy``, which has no seeds.
        tags: the rows' names.
        seeds: those to look for.
        testset: the test set.

    Raises:
        FeatnormError: a score file is broken.
    """
    found: dict[str, dict[int, Scores]] = {}
    for tag in dict.fromkeys(tags):
        found[tag] = {}
        for seed in seeds:
            name = NOISY if tag == NOISY else f"{tag}_seed{seed}"
            path = expdir / name / f"{SCORES_PREFIX}{testset}" / "scores.csv"
            # It is written before the summary, which says that scoring came to its end.
            if path.with_name("summary.json").is_file():
                found[tag][seed] = read_scores(path)
    return found


def reply(question: Question, runs: Runs, drifts: Drifts | None = None) -> Answer:
    """Answer a question from the runs that are there.

    Args:
        question: what is asked.
        runs: from ``read_runs``.
        drifts: mean CKA by row and seed.
    """
    terms = [(weight, runs.get(tag, {})) for weight, tag in question.weights]
    seeds = sorted(set.intersection(*(set(row) for _, row in terms)))
    estimates, up = {}, {}
    for metric in DELTAS:
        try:
            difference = contrast(terms, metric)
        except FeatnormError:
            continue
        estimates[metric] = of_contrast(difference)
        up[metric] = int((difference.values.mean(axis=1) > 0).sum())
    return Answer(question, seeds, estimates, up, _drift(question, drifts or {}))


def _drift(question: Question, drifts: Drifts) -> Estimate | None:
    rows = [(weight, drifts.get(tag, {})) for weight, tag in question.weights]
    seeds = set.intersection(*(set(row) for _, row in rows))
    if not seeds:
        return None
    return over_seeds([sum(weight * row[seed] for weight, row in rows) for seed in sorted(seeds)])


def tell_missing(runs: Runs, seeds: Sequence[int]) -> list[str]:
    """Return a line for every row of which seeds are missing."""
    lines = []
    for tag, row in runs.items():
        gone = [seed for seed in seeds if seed not in row]
        if gone:
            which = "no seed was run" if not row else f"no seed {' '.join(map(str, gone))}"
            lines.append(f"{tag}: {which}")
    return lines


def to_markdown(answers: Sequence[Answer], missing: Sequence[str]) -> str:
    """Return the answers as a Markdown table a group, and what is missing."""
    text = [NOTE]
    for group in dict.fromkeys(answer.question.group for answer in answers):
        heads = [part for metric in DELTAS for part in (f"Δ {metric}", "up")]
        heads.append("Δ CKA")
        text += ["", f"## {group}", "", "| " + " | ".join(["comparison", "seeds", *heads]) + " |"]
        text += ["| --- | " + " | ".join(["---:"] * (1 + len(heads))) + " |"]
        for answer in (a for a in answers if a.question.group == group):
            cells = [answer.question.name.replace("|", "\\|"), _seeds(answer)]
            for metric in DELTAS:
                estimate = answer.estimates.get(metric)
                cells.append(format_difference(estimate, METRICS[metric].decimals))
                cells.append(f"{answer.up[metric]}/{len(answer.seeds)}" if estimate else "")
            cells.append(_cka(answer.drift))
            text.append("| " + " | ".join(cells) + " |")
    text += [
        "",
        "## Not there",
        "",
        *([f"- {line}" for line in missing] or ["Nothing is missing."]),
    ]
    return "\n".join(text) + "\n"


def _cka(estimate: Estimate | None) -> str:
    if estimate is None or estimate.low is None:
        return "" if estimate is None else f"{estimate.mean:+.4f}"
    return format_difference(estimate, 3)


def _seeds(answer: Answer) -> str:
    return str(len(answer.seeds)) if answer.seeds else "not run"


def to_csv(answers: Sequence[Answer]) -> str:
    """Return the answers as CSV; what was not run is empty."""
    spread = [f"{metric}{end}" for metric in DELTAS for end in ("", "_low", "_high", "_seeds_up")]
    words = ["group", "name", "a", "b", "minus", "seeds"]
    table: list[list[object]] = [[*words, *spread, "CKA", "CKA_low", "CKA_high"]]
    for answer in answers:
        asked = answer.question
        words = [asked.group, asked.name, asked.a, asked.b, " - ".join(asked.minus or ())]
        numbers: list[object] = []
        for metric in DELTAS:
            estimate = answer.estimates.get(metric)
            if estimate is None:
                numbers += [""] * 4
            else:
                numbers += [*estimate.cells(), answer.up[metric]]
        numbers += answer.drift.cells() if answer.drift else [""] * 3
        table.append([*words, " ".join(map(str, answer.seeds)), *numbers])
    return csv_text(table)
