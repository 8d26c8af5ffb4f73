"""Short names for plots: only what tells the experiments apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from featnorm_se.report.experiments import Experiment


def short_labels(experiments: Sequence[Experiment]) -> dict[str, str]:
    """Name each experiment by its upstream, its norm, and what else is needed to be unique.

    Site, weights and seed are added, one after the other, while two names are the same; when
    all of them do not suffice, the folder's name is used.

    Returns:
        The label by experiment name.
    """
    models = [experiment for experiment in experiments if not experiment.is_noisy]
    labels = {experiment.name: experiment.name for experiment in experiments}
    for fields in range(2, 6):
        told = [_describe(experiment, fields) for experiment in models]
        if all(told) and len(set(told)) == len(told):
            named = zip(models, told, strict=True)
            return {**labels, **{experiment.name: text for experiment, text in named}}
    return labels


def _describe(experiment: Experiment, fields: int) -> str:
    run = experiment.run
    if not run.get("upstream"):
        return ""
    parts = [
        run.get("upstream"),
        run.get("norm"),
        run.get("norm_site"),
        experiment.start,
        f"seed {run.get('seed')}",
    ]
    return " ".join(str(part) for part in parts[:fields] if part)


def series_numbers(experiments: Sequence[Experiment], labels: Mapping[str, str]) -> dict[str, int]:
    """Number the models, so that one has the same colour in every plot; noisy has none.

    Returns:
        The number by label.
    """
    models = (experiment for experiment in experiments if not experiment.is_noisy)
    return {labels[model.name]: number for number, model in enumerate(models)}
