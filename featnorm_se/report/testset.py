"""One test set of the page: the experiments scored on it, their tables, pictures and examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from featnorm_se.errors import FeatnormError
from featnorm_se.metrics.names import METRICS
from featnorm_se.metrics.summary import format_value
from featnorm_se.report.examples import Clip, choose, make_clips, read_audio_sets
from featnorm_se.report.experiments import NOISY, Experiment, Scores
from featnorm_se.report.paired import Contrast, compare
from featnorm_se.report.results import results_table, shown_metrics

PLOTTED = ("PESQ_WB", "STOI", "SI_SDR")


class TestSet:
    """What is known of one test set.

    Args:
        name: the test set's name.
        experiments: all experiments; those not scored on it have a row of empty cells.
        labels: what to call each.

    Attributes:
        metrics: those that are plotted.
        best_by: the one by which models and utterances are ranked.
        units: of all metrics of the table.
    """

    __test__ = False  # pytest takes the name for a test class

    def __init__(
        self, name: str, experiments: Sequence[Experiment], labels: Mapping[str, str]
    ) -> None:
        self.name = name
        self._all, self._labels = experiments, labels
        self._experiments = [e for e in experiments if name in e.summaries]
        shown = shown_metrics(experiments, name)
        self.units = {metric: METRICS[metric].unit for metric in shown}
        self.metrics = [metric for metric in PLOTTED if metric in shown]
        self.best_by = self.metrics[0] if self.metrics else "PESQ_WB"
        self._scores: dict[str, Scores] = {}
        for experiment in self._experiments:
            with suppress(FeatnormError):  # a summary without its table: its plots are left out
                self._scores[experiment.name] = experiment.scores(name)
        models = [e for e in self._experiments if not e.is_noisy and e.name in self._scores]
        self.models = sorted(models, key=lambda e: -(e.mean(name, self.best_by) or 0.0))

    def results(self) -> list[list[str]]:
        """The table of means, with a heading."""
        heading, *rows = results_table(self._all, self.name)
        return [heading, *([self._labels[row[0]], *row[1:]] for row in rows)]

    def best(self) -> dict[int, str]:
        """The highest cells of that table, by column."""
        _, *rows = self.results()
        columns = {i: [row[i] for row in rows if row[i]] for i in range(5, 5 + len(self.units))}
        return {i: max(cells, key=float) for i, cells in columns.items() if len(cells) > 1}

    def examples(self, datadir: str, kind: str, limit: int) -> list[tuple[str, list[Clip]]]:
        """The utterances with the best, median and worst gain of the best model, to listen to.

        Args:
            datadir: where the noisy and clean speech is.
            kind: the audio's format.
            limit: so many models at most; 0: nothing.

        Returns:
            A heading and the clips of each.
        """
        models = self.models[:limit]
        if not models or NOISY not in self._scores:
            return []
        files = read_audio_sets(datadir, self.name, models)
        found = []
        judged, metric = self._scores[models[0].name], self.best_by
        for which, name, gain in choose(self._scores[NOISY], judged, metric):
            clips = make_clips(name, files, self._labels, self._scores, kind)
            if clips:
                number = f"{gain:+.{METRICS[metric].decimals}f}"
                found.append((f"{which.capitalize()}: {name} ({metric} {number})", clips))
        return found

    def best_label(self) -> str:
        """What the best model is called."""
        return self._labels[self.models[0].name]

    def conditions(self) -> dict[str, dict[str, Any]]:
        """Means by SNR and by noise, by label, of those for which they are known."""
        known = {e.name: e.summaries[self.name].get("conditions") for e in self._experiments}
        return {self._labels[name]: groups for name, groups in known.items() if groups}

    def by_snr(self, metric: str) -> dict[str, dict[float, float]]:
        """Means of a metric by label and SNR in dB."""
        found = {
            label: {
                float(level): group[metric]
                for level, group in groups["snr"].items()
                if level != "unknown" and group.get(metric) is not None
            }
            for label, groups in self.conditions().items()
        }
        return {label: values for label, values in found.items() if values}

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
        """Compare each model with the noisy input, and with the ``none`` row of its upstream."""
        found: dict[str, Contrast] = {}
        for model in sorted(self.models, key=lambda e: e.name):
            for reference in (NOISY, *self._plain(model)):
                if reference in self._scores:
                    label = f"{self._labels[model.name]}\n less {self._labels[reference]}"
                    scores = self._scores[reference], self._scores[model.name]
                    with suppress(FeatnormError):  # one of them was not scored with it
                        found[label] = compare(*scores, metric)
        return found

    def _plain(self, model: Experiment) -> list[str]:
        """Return the ``none`` row that a model is compared with: of its seed, if there is one."""
        if model.run.get("norm") == "none":
            return []
        plain = [
            other
            for other in self.models
            if other.run.get("norm") == "none"
            and other.run.get("upstream") == model.run.get("upstream")
            and other.start == model.start
        ]
        same_seed = [other for other in plain if other.run.get("seed") == model.run.get("seed")]
        return [other.name for other in (same_seed or plain)[:1]]

    def values(self, metric: str) -> dict[str, list[float]]:
        """Return all utterances' values of a metric by label."""
        found = {
            self._labels[name]: [row[metric] for row in rows.values() if metric in row]
            for name, rows in self._scores.items()
        }
        return {label: values for label, values in found.items() if values}
