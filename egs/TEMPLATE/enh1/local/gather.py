"""A table over seeds, gathered from the experiments that are there, nothing guessed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from estimate import Estimate, of_contrast, over_seeds
from rows import Row

from featnorm_se.errors import FeatnormError, say
from featnorm_se.metrics.names import METRICS
from featnorm_se.report.experiments import (
    SCORES_PREFIX,
    Experiment,
    read_drift,
    read_experiments,
    same_input,
)
from featnorm_se.report.paired import contrast
from featnorm_se.report.results import caveats

Runs = Mapping[int, Experiment]
DRIFT = ("cka", "cosine")


@dataclass(frozen=True)
class Line:
    """One row of a table with what is known of it.

    Attributes:
        row: what it is about.
        seeds: how many of its runs were scored.
        values: by column of the CSV: a metric over seeds; ``delta_<metric>``, the paired
            difference to the baseline over seeds and utterances; ``cka`` and ``cosine``, the
            drift over seeds as a mean over layers; ``last_cka`` and ``last_cosine``, that of the
            last layer.
        parameters: of the model, ``total`` and ``trainable``; empty where its runs differ.
        seconds: mean training time.
    """

    row: Row
    seeds: int
    values: dict[str, Estimate] = field(default_factory=dict)
    parameters: Mapping[str, int] = field(default_factory=dict)
    seconds: float | None = None


def gather(
    rows: Sequence[Row],
    seeds: Sequence[int],
    expdir: Path,
    testset: str = "test",
) -> tuple[list[Line], list[str]]:
    """Gather what there is of every row; a row that was not run has no values.

    Beside the lines it returns, and says, why some of them should not be compared.

    The interval of a metric is Student's t over the means of the seeds. A difference is taken
    seed by seed and utterance by utterance, over the seeds that a row and its baseline both have;
    its interval is the bootstrap's over both (``paired.crossed_interval``).

    Raises:
        FeatnormError: a score file is broken.
    """
    scored = any(expdir.glob(f"*/{SCORES_PREFIX}{testset}/summary.json"))
    experiments = read_experiments(expdir) if scored else []
    there = {e.name: e for e in experiments if testset in e.summaries}
    runs: dict[str, Runs] = {
        row.name: {seed: there[tag] for seed in seeds if (tag := row.tag(seed)) in there}
        for row in rows
    }
    every = {one.name: one for by_seed in runs.values() for one in by_seed.values()}
    found = caveats(list(every.values()), testset)
    for name, by_seed in runs.items():
        began = {str(one.run.get("upstream_identity")) for one in by_seed.values()}
        if len(began) > 1 and all(one.start == "pre-trained" for one in by_seed.values()):
            found.append(f"Not all seeds of {name} start from the same weights.")
    for caveat in found:
        say(f"warning: {caveat}")
    lines = [_line(row, runs[row.name], runs.get(row.baseline, {}), testset) for row in rows]
    return lines, found


def _line(row: Row, by_seed: Runs, baseline: Runs, testset: str) -> Line:
    # The noisy input is one experiment for all seeds.
    runs = list({run.name: run for run in by_seed.values()}.values())
    if not runs:
        return Line(row, 0)
    found: dict[str, list[float]] = {}
    for run in runs:
        for metric in run.summaries[testset].get("metrics", {}):
            mean = run.mean(testset, metric)
            if mean is not None:
                found.setdefault(metric, []).append(mean)
    # A metric that one seed lacks would be a mean over other seeds than its neighbours'.
    full = {name: over_seeds(found[name]) for name in found if len(found[name]) == len(runs)}
    times = [float(time) for run in runs if (time := run.run.get("training_seconds")) is not None]
    # The model's own, which a checkpoint of fewer layers than the card's has elsewhere.
    sites = {site for run in runs if (site := run.run.get("norm_site"))}
    row = replace(row, site=sites.pop()) if len(sites) == 1 and row.norm_site != "all" else row
    counts = [run.run.get("parameters") or {} for run in runs]
    return Line(
        row,
        len(runs),
        {**full, **_differences(baseline, by_seed, testset), **_drift(runs)},
        counts[0] if all(count == counts[0] for count in counts) else {},
        sum(times) / len(times) if len(times) == len(runs) else None,
    )


def _differences(baseline: Runs, judged: Runs, testset: str) -> dict[str, Estimate]:
    # Seeds that only one side has, and other noisy files, would pass for a difference of the two.
    both = [seed for seed in judged if seed in baseline]
    common = [seed for seed in both if same_input((judged[seed], baseline[seed]), testset)]
    terms = [
        (weight, {seed: runs[seed].scores(testset) for seed in common})
        for weight, runs in ((1.0, judged), (-1.0, baseline))
    ]
    found = {}
    for metric in METRICS:
        with suppress(FeatnormError):  # one of them was not scored with it
            difference = contrast(terms, metric)
            found[f"delta_{metric}"] = of_contrast(difference)
    return found


def _drift(runs: Sequence[Experiment]) -> dict[str, Estimate]:
    """Average every run's drift over layers; nothing unless all runs have it."""
    tables = [read_drift(run.folder) for run in runs]
    if not all(tables):
        return {}
    found = {}
    for name in DRIFT:
        values = [[layer[name] for layer in table.values()] for table in tables]
        found[name] = over_seeds([sum(layers) / len(layers) for layers in values])
        found[f"last_{name}"] = over_seeds([layers[-1] for layers in values])
    return found
