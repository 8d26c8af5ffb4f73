"""The page's sections, each from the experiments to HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from featnorm_se.errors import FeatnormError
from featnorm_se.metrics.names import METRICS
from featnorm_se.metrics.summary import format_value
from featnorm_se.report import markup, plots
from featnorm_se.report.comparing import comparison_table
from featnorm_se.report.curves import Curves, read_curves
from featnorm_se.report.examples import AudioSets, choose
from featnorm_se.report.experiments import NOISY, Experiment
from featnorm_se.report.labels import series_numbers
from featnorm_se.report.paired import Comparison, compare
from featnorm_se.report.tables import details, results_table, shown_metrics

PLOTTED = ("PESQ_WB", "STOI", "SI_SDR")
Scores = dict[str, dict[str, float]]


class TestSet:
    """What is known of one test set: the experiments scored on it, and their scores.

    Args:
        name: the test set's name.
        experiments: all experiments.
        labels: what to call each.
    """

    __test__ = False  # pytest takes the name for a test class

    def __init__(
        self, name: str, experiments: Sequence[Experiment], labels: Mapping[str, str]
    ) -> None:
        self.name = name
        self.experiments = [e for e in experiments if name in e.summaries]
        self.labels = labels
        self.numbers = series_numbers(experiments, labels)
        self.metrics = [m for m in PLOTTED if m in shown_metrics(self.experiments, name)]
        self.scores: dict[str, Scores] = {}
        for experiment in self.experiments:
            try:
                self.scores[experiment.name] = experiment.scores(name)
            except FeatnormError:
                continue  # a summary without its table: its plots are left out

    @property
    def models(self) -> list[Experiment]:
        """The experiments but the noisy input, the best PESQ_WB (or first metric) first."""
        metric = self.metrics[0] if self.metrics else "PESQ_WB"
        models = [e for e in self.experiments if not e.is_noisy and e.name in self.scores]
        return sorted(models, key=lambda e: -(e.mean(self.name, metric) or 0.0))

    def values(self, metric: str) -> dict[str, list[float]]:
        """Return all utterances' values by label."""
        found = {
            self.labels[name]: [row[metric] for row in rows.values() if metric in row]
            for name, rows in self.scores.items()
        }
        return {label: values for label, values in found.items() if values}


def results(test: TestSet, experiments: Sequence[Experiment]) -> str:
    """The table of means."""
    heading, *rows = results_table(experiments, test.name)
    rows = [heading, *([test.labels[row[0]], *row[1:]] for row in rows)]
    count = len(shown_metrics(experiments, test.name))
    caption = f"Means over the utterances of {test.name}; the highest of a column is bold"
    units = "; ".join(f"{m}: {METRICS[m].unit}" for m in shown_metrics(experiments, test.name))
    return (
        markup.table(caption, rows, words=5, best=range(5, 5 + count))
        + f'<p class="quiet">Units: {markup.esc(units)}. Higher is better for all.</p>'
    )


def distributions(test: TestSet) -> str:
    """Every utterance's scores, a row a model."""
    pictures = [
        markup.figure(
            plots.distributions(
                values, test.numbers, metric, f"Distribution of {metric} on {test.name}"
            ),
            f"{metric}: a dot an utterance, quartiles (box), mean (diamond).",
        )
        for metric in test.metrics
        if (values := test.values(metric))
    ]
    return markup.figures(pictures)


def pairs(test: TestSet, metric: str) -> dict[str, Comparison]:
    """Compare each model with the noisy input, and with the ``none`` row of its upstream."""
    found: dict[str, Comparison] = {}
    for model in sorted(test.models, key=lambda e: e.name):
        plain = [
            other
            for other in test.models
            if other.run.get("norm") == "none"
            and other is not model
            and other.run.get("upstream") == model.run.get("upstream")
            and other.start == model.start
        ]
        same_seed = [o for o in plain if o.run.get("seed") == model.run.get("seed")]
        references = [NOISY, *(o.name for o in (same_seed or plain)[:1])]
        if model.run.get("norm") == "none":
            references = [NOISY]
        for reference in references:
            if reference in test.scores:
                try:
                    told = compare(test.scores[reference], test.scores[model.name], metric)
                except FeatnormError:
                    continue
                found[f"{test.labels[model.name]}\n less {test.labels[reference]}"] = told
    return found


def paired(test: TestSet) -> str:
    """Paired differences, drawn and in a table."""
    parts, pictures = [], []
    for metric in test.metrics:
        comparisons = pairs(test, metric)
        if not comparisons:
            continue
        title = f"Paired differences in {metric} on {test.name}"
        told = f"{metric}: a dot an utterance, the mean (diamond) with its 95 % interval (bar)."
        pictures.append(markup.figure(plots.differences(comparisons, metric, title), told))
        parts.append(markup.table(title, comparison_table(comparisons, metric)))
    return markup.figures(pictures) + markup.folded("As tables", "".join(parts)) if parts else ""


def conditions(test: TestSet) -> str:
    """Means by SNR as lines, and by SNR and noise as tables."""
    told = {
        e.name: e.summaries[test.name]["conditions"]
        for e in test.experiments
        if e.summaries[test.name].get("conditions")
    }
    if not told:
        return ""
    pictures, tables = [], []
    for metric in test.metrics:
        means = {
            test.labels[name]: {
                float(level): group[metric]
                for level, group in groups["snr"].items()
                if level != "unknown" and group.get(metric) is not None
            }
            for name, groups in told.items()
        }
        means = {label: values for label, values in means.items() if values}
        if means:
            svg = plots.by_snr(means, test.numbers, metric, f"{metric} by SNR on {test.name}")
            pictures.append(markup.figure(svg, f"{metric}: mean at each SNR."))
        for kind, heading in (("snr", "SNR (dB)"), ("noise", "noise type")):
            names = list(dict.fromkeys(n for groups in told.values() for n in groups[kind]))
            rows = [[f"model, {heading}:", *names]]
            for name, groups in told.items():
                cells = [format_value(metric, groups[kind].get(n, {}).get(metric)) for n in names]
                rows.append([test.labels[name], *cells])
            tables.append(markup.table(f"{metric} by {heading}", rows))
    return markup.figures(pictures) + markup.folded("As tables", "".join(tables))


def examples(test: TestSet, datadir: str, kind: str, limit: int) -> str:
    """The utterances with the best, median and worst gain of the best model, to listen to.

    Args:
        test: the test set.
        datadir: where its noisy and clean speech is.
        kind: the audio's format.
        limit: so many models at most; 0 leaves the section out.
    """
    models = test.models[:limit]
    if not models or NOISY not in test.scores:
        return ""
    best = models[0]
    metric = test.metrics[0] if test.metrics else "PESQ_WB"
    audio = AudioSets(datadir, test.name, models)
    if not audio.complete:
        return ""
    parts = [
        f"<p>Chosen by the gain in {markup.esc(metric)} of {markup.esc(test.labels[best.name])},"
        " the best model here, over the noisy input. The spectrograms of an utterance have one"
        " scale: 0 dB is the clean speech's strongest bin.</p>"
    ]
    if len(models) < len(test.models):
        parts.append(f"<p>The {len(models)} best of {len(test.models)} models.</p>")
    for which, name, gain in choose(test.scores[NOISY], test.scores[best.name], metric):
        clips = audio.clips(name, test.labels, test.scores, kind)
        if clips:
            number = f"{gain:+.{METRICS[metric].decimals}f}"
            heading = f"{which.capitalize()}: {name} ({metric} {number})"
            cards = "".join(
                f'<article class="clip"><h4>{markup.esc(clip.label)}</h4>'
                f"<p>{markup.esc(clip.told) or '&nbsp;'}</p>"
                f'<audio controls preload="metadata" src="{clip.audio}"'
                f' aria-label="{markup.esc(f"{name}, {clip.label}")}"></audio>'
                f"{clip.spectrogram}</article>"
                for clip in clips
            )
            parts.append(f'<h3>{markup.esc(heading)}</h3><div class="clips">{cards}</div>')
    return "".join(parts) if len(parts) > 1 else ""


def training(experiments: Sequence[Experiment], labels: Mapping[str, str]) -> str:
    """Training curves, a picture an upstream."""
    numbers = series_numbers(experiments, labels)
    groups: dict[str, dict[str, Curves]] = {}
    for experiment in experiments:
        curves = read_curves(experiment.folder)
        if curves:
            upstream = str(experiment.run.get("upstream") or "")
            groups.setdefault(upstream, {})[labels[experiment.name]] = curves
    pictures = []
    for upstream, members in groups.items():
        title = f"Training curves {upstream}".strip()
        pictures.append(
            markup.figure(
                plots.training_curves(members, numbers, title),
                f"{upstream or 'All'}: loss by epoch; valid is a line, train is dashed.",
            )
        )
    return markup.figures(pictures)


def provenance(experiments: Sequence[Experiment], labels: Mapping[str, str]) -> str:
    """What each row stands on."""
    parts = []
    for experiment in experiments:
        pairs = "".join(
            f"<dt>{markup.esc(heading)}</dt><dd>"
            + (f"<code>{markup.esc(text)}</code>" if heading == "command" else markup.esc(text))
            + "</dd>"
            for heading, text in details(experiment)
        )
        label = labels[experiment.name]
        told = label if label == experiment.name else f"{label}: {experiment.name}"
        parts.append(markup.folded(told, f"<dl>{pairs}</dl>"))
    return "".join(parts)
