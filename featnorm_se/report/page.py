"""The report page: one HTML file that opens from disk and needs nothing else.

What it says and how it looks stands in ``templates/``; here is what it is made from.
"""

import base64
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from featnorm_se.config import differences
from featnorm_se.errors import FeatnormError
from featnorm_se.metrics.names import METRICS
from featnorm_se.metrics.summary import format_value
from featnorm_se.report import plots
from featnorm_se.report.examples import SHOWN_SCORES, choose, make_clips, read_audio_sets
from featnorm_se.report.experiments import (
    NOISY,
    Experiment,
    names_of_testsets,
    read_curves,
    read_drift,
    same_input,
)
from featnorm_se.report.paired import Contrast, compare, comparison_table
from featnorm_se.report.results import details, results_table, scale, shown_metrics

Found = TypeVar("Found")

MOST_MODELS = 8  # that can be heard, the best


def build_page(experiments: Sequence[Experiment], datadir: str, title: str) -> str:
    """Return the page's HTML; ``datadir`` is as for ``read_audio_sets``."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    models = [experiment for experiment in experiments if not experiment.is_noisy]
    loader = PackageLoader("featnorm_se.report")
    # Names and commands come from outside.
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    return environment.get_template("page.html").render(
        title=title,
        experiments=experiments,
        # A model has the same colour and marker in every plot.
        numbers={model.label: number for number, model in enumerate(models)},
        testsets=[TestSet(name, experiments) for name in names_of_testsets(experiments)],
        datadir=datadir,
        most_models=MOST_MODELS,
        curves=_by_upstream(experiments, read_curves),
        drifts=_by_upstream(experiments, read_drift),
        png=lambda p: base64.b64encode(p.read_bytes()).decode() if p.is_file() else "",
        plots=plots,
        comparison_table=comparison_table,
        scale=scale,
        details=details,
    )


def _by_upstream(
    experiments: Sequence[Experiment], read: Callable[[Path], Found]
) -> dict[str, dict[str, Found]]:
    """Read something of every experiment that has it, by upstream and label."""
    groups: dict[str, dict[str, Found]] = {}
    for experiment in experiments:
        if found := read(experiment.folder):
            upstream = str(experiment.run.get("upstream") or "")
            groups.setdefault(upstream, {})[experiment.label] = found
    return groups


class TestSet:
    """One test set of the page: what its tables, plots and players are made from.

    Args:
        name: the test set's name.
        experiments: all experiments; those not scored on it have a row of empty cells.

    Attributes:
        shown: the metrics of the table.
        metrics: those that are plotted.
        best_by: the one by which models and utterances are ranked.
        scores: every utterance's, by label.
        models: those with scores, the best first.
    """

    __test__ = False  # pytest takes the name for a test class

    def __init__(self, name: str, experiments: Sequence[Experiment]) -> None:
        self.name, self._experiments = name, experiments
        self.shown = shown_metrics(experiments, name)
        self.metrics = [metric for metric in SHOWN_SCORES if metric in self.shown]
        self.best_by = self.metrics[0] if self.metrics else "PESQ_WB"
        self.scores = {e.label: e.scores(name) for e in experiments if name in e.summaries}
        models = [e for e in experiments if not e.is_noisy and e.label in self.scores]
        self.models = sorted(models, key=lambda e: -(e.mean(name, self.best_by) or 0.0))

    def results(self) -> list[list[str]]:
        """The table of means, with a heading."""
        heading, *rows = results_table(self._experiments, self.name)
        names = [experiment.label for experiment in self._experiments]
        return [heading, *([name, *row[1:]] for name, row in zip(names, rows, strict=True))]

    def best(self) -> dict[int, str]:
        """The highest cells of that table, by column."""
        _, *rows = self.results()
        columns = {i: [row[i] for row in rows if row[i]] for i in range(5, 5 + len(self.shown))}
        return {i: max(cells, key=float) for i, cells in columns.items() if len(cells) > 1}

    def examples(self, datadir: str) -> list[tuple[str, list[dict[str, str]]]]:
        """Headings and players of the best, median and worst change by the best model."""
        models = self.models[:MOST_MODELS]
        if not models or NOISY not in self.scores:
            return []
        files = read_audio_sets(datadir, self.name, models)
        judged, metric = self.scores[models[0].label], self.best_by
        found = []
        for which, name, gain in choose(self.scores[NOISY], judged, metric):
            if clips := make_clips(name, files, self.scores):
                number = f"{gain:+.{METRICS[metric].decimals}f}"
                found.append((f"{which.capitalize()}: {name} ({metric} {number})", clips))
        return found

    def conditions(self) -> dict[str, dict[str, Any]]:
        """Means by SNR and by noise, by label, of those for which they are known."""
        found = {e.label: e.summaries.get(self.name, {}) for e in self._experiments}
        return {label: s["conditions"] for label, s in found.items() if s.get("conditions")}

    def by_snr(self, metric: str) -> dict[str, dict[float, float]]:
        """Means of a metric by label and SNR in dB."""
        found: dict[str, dict[float, float]] = {}
        for label, groups in self.conditions().items():
            for level, group in groups["snr"].items():
                if level not in ("unknown", "inf") and group.get(metric) is not None:
                    found.setdefault(label, {})[float(level)] = group[metric]
        return found

    def condition_table(self, metric: str, kind: str, heading: str) -> list[list[str]]:
        """Means of a metric by ``snr`` or ``noise``, with a heading."""
        found = self.conditions()
        names = list(dict.fromkeys(name for groups in found.values() for name in groups[kind]))
        rows = [[f"model, {heading}:", *names]]
        for label, groups in found.items():
            means = (groups[kind].get(name, {}).get(metric) for name in names)
            rows.append([label, *(format_value(metric, mean) for mean in means)])
        return rows

    def differences(self, metric: str) -> dict[str, Contrast]:
        """Compare each model with the noisy input, and with the ``none`` row trained alike."""
        found: dict[str, Contrast] = {}
        every = {e.label: e for e in self._experiments}
        for model in sorted(self.models, key=lambda e: e.name):
            for reference in (NOISY, *self._plain(model)):
                if reference in self.scores and same_input((every[reference], model), self.name):
                    both = self.scores[reference], self.scores[model.label]
                    with suppress(FeatnormError):  # one of them was not scored with it
                        found[f"{model.label}\n less {reference}"] = compare(*both, metric)
        return found

    def _plain(self, model: Experiment) -> list[str]:
        """Return the ``none`` row trained as a model was: of its seed, if there is one."""

        def is_alike(e: Experiment) -> bool:
            others = {*differences(*(one.run.get("config") or {} for one in (e, model)))}
            keys = ("upstream", "upstream_ckpt", "init", "max_epoch", "data_sources")
            same = all(e.run.get(key) == model.run.get(key) for key in keys)
            return same and others <= {"seed", "separator_conf.norm", "separator_conf.norm_site"}

        if model.run.get("norm") == "none":
            return []
        none = [e for e in self.models if e.run.get("norm") == "none" and is_alike(e)]
        same_seed = [e for e in none if e.run.get("seed") == model.run.get("seed")]
        return [e.label for e in (same_seed or none)[:1]]

    def values(self, metric: str) -> dict[str, list[float]]:
        """Return all utterances' values of a metric by label."""
        found = {k: [r[metric] for r in t.values() if metric in r] for k, t in self.scores.items()}
        return {label: values for label, values in found.items() if values}
