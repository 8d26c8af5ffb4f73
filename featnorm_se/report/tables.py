"""The results tables as rows of text, for Markdown, the terminal and the page alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from featnorm_se.metrics.names import METRICS
from featnorm_se.metrics.summary import format_value
from featnorm_se.report.experiments import Experiment

INTERNAL = ("LLR", "WSS")


def shown_metrics(experiments: Sequence[Experiment], testset: str) -> list[str]:
    """Return the metrics that a test set's table has: all that any experiment was scored with."""
    present = {
        name
        for experiment in experiments
        for name in experiment.summaries.get(testset, {}).get("metrics", {})
    }
    return [name for name in METRICS if name in present and name not in INTERNAL]


def results_table(experiments: Sequence[Experiment], testset: str) -> list[list[str]]:
    """Return a test set's table: a heading and a row an experiment; unknown cells are empty."""
    metrics = shown_metrics(experiments, testset)
    rows = [["model", "upstream", "weights", "norm", "site", *metrics, "parameters", "training"]]
    for experiment in experiments:
        run = experiment.run
        means = [format_value(name, experiment.mean(testset, name)) for name in metrics]
        rows.append(
            [
                experiment.name,
                _text(run.get("upstream")),
                experiment.start,
                _text(run.get("norm")),
                _text(run.get("norm_site")),
                *means,
                format_count(_total(run.get("parameters"))),
                format_duration(run.get("training_seconds")),
            ]
        )
    return rows


def _total(parameters: Any) -> Any:
    return parameters.get("total") if isinstance(parameters, Mapping) else parameters


def _text(value: Any) -> str:
    """Write one value of a record in one line."""
    if value is None or value == "":
        return ""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_text(inner)}" for key, inner in value.items() if _text(inner))
    if isinstance(value, (list, tuple)):
        return ",".join(_text(inner) for inner in value)
    return " ".join(str(value).split())


def format_count(value: Any) -> str:
    """Write a number of parameters: ``41,234``, ``94.4 M``."""
    if not isinstance(value, (int, float)):
        return ""
    return f"{value / 1e6:.1f} M" if value >= 1e6 else f"{value:,.0f}"


def format_duration(seconds: Any) -> str:
    """Write a training time: ``42 s``, ``3 min 12 s``, ``1 h 02 min``."""
    if not isinstance(seconds, (int, float)):
        return ""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def details(experiment: Experiment) -> list[tuple[str, str]]:
    """Return what an experiment's numbers stand on, as pairs of a heading and a text.

    Command, commit, seed, checkpoint, parameters, epochs, data, machine, versions, and for each
    test set the number of utterances, the scoring versions and the failures; what the record
    does not hold is left out.
    """
    run = experiment.run
    commit = _text(run.get("commit"))
    if commit and run.get("dirty") is not None:
        commit += " (dirty: the tree had changes)" if run["dirty"] else " (clean)"
    pairs = [
        ("command", _text(run.get("command"))),
        ("commit", commit),
        ("seed", _text(run.get("seed"))),
        ("upstream checkpoint", _text(run.get("upstream_ckpt"))),
        ("upstream identity", _text(run.get("upstream_identity"))),
        ("parameters", _text(run.get("parameters"))),
        ("epochs", _text(run.get("epochs"))),
        ("best epoch", _text(run.get("best_epoch"))),
        ("started", _text(run.get("started"))),
        ("finished", _text(run.get("finished"))),
        ("data", _data(run.get("data"))),
        ("machine", _text(run.get("machine"))),
        ("versions", _text(run.get("versions"))),
    ]
    for testset, summary in experiment.summaries.items():
        pairs.append((f"scored on {testset}", _scoring(summary)))
    return [(heading, text) for heading, text in pairs if text]


def _data(data: Any) -> str:
    """Write what the data was: resampler, pairs a set, and the start of each set's hash.

    A list of every file's hash and folders of one machine say nothing to a reader.
    """
    if not isinstance(data, Mapping):
        return _text(data)
    parts = [
        f"{name} {_text(data[name])}"
        for name in ("resampler", "torchaudio", "sample_rate")
        if _text(data.get(name))
    ]
    for name, count in (data.get("counts") or {}).items():
        pairs = count.get("pairs") if isinstance(count, Mapping) else count
        source = (data.get("sources") or {}).get(name)
        parts.append(f"{name} {pairs} pairs" + (f" (sources {source[:12]})" if source else ""))
    return "; ".join(parts)


def _scoring(summary: Mapping[str, Any]) -> str:
    parts = []
    if summary.get("utterances") is not None:
        parts.append(f"{summary['utterances']} utterances")
    if summary.get("failures"):
        names = ", ".join(_text(failure.get("utt_id")) for failure in summary["failures"][:5])
        parts.append(f"{len(summary['failures'])} without a full score ({names})")
    if summary.get("versions"):
        parts.append(_text(summary["versions"]))
    return "; ".join(parts)
