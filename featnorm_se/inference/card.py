"""The model card: what a packed model is, what it was measured at, and what it is not."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from featnorm_se import __version__
from featnorm_se.errors import FeatnormError

_PAPER = """@inproceedings{yang23_interspeech,
  author = {Yang and Kang},
  title = {Feature Normalization for Fine-tuning Self-Supervised Models in Speech Enhancement},
  booktitle = {Proc. Interspeech},
  year = {2023},
  note = {arXiv 2306.08406}
}"""


_LICENCE = re.compile(r"[a-z0-9][a-z0-9.-]{0,60}")


def model_card(
    config: Mapping[str, Any],
    results: Mapping[str, Any],
    parameters: int,
    notes: str = "",
    weights_licence: str | None = None,
) -> str:
    """Return the card in Markdown, with the header that Hugging Face reads.

    Args:
        config: ESPnet's configuration of the model.
        results: from ``pack.read_results``.
        parameters: number of weights.
        notes: Markdown of the one who packs: training commands, data and their licences.
        weights_licence: of the trained weights, as Hugging Face names it.

    Raises:
        FeatnormError: the licence is no such name.
    """
    if weights_licence is not None and not _LICENCE.fullmatch(weights_licence):
        raise FeatnormError(
            f"a licence is named as on Hugging Face, cc-by-4.0 say, not {weights_licence!r}"
        )
    conf = config["separator_conf"]
    run = results["run"]
    name = run.get("name", "a featnorm_se model")
    version = run.get("versions", {}).get("featnorm_se", __version__)
    parts = [
        "---\nlibrary_name: featnorm_se\npipeline_tag: audio-to-audio\n"
        + (f"license: {weights_licence}\n" if weights_licence else "")
        + "tags:\n- speech-enhancement\n---",
        f"# {name}",
        "Speech enhancement (noise reduction) at 16 kHz: a self-supervised speech model,"
        " fine-tuned with normalized features, and a BLSTM that estimates a magnitude mask.",
        "## Use\n\n"
        "    featnorm-se enhance noisy.wav -o enhanced.wav --model model.zip\n\n"
        "or, in Python,\n\n"
        "    from featnorm_se import Enhancer\n"
        '    enhanced = Enhancer.from_pretrained("model.zip")(noisy, sample_rate)',
        "## Model\n\n" + _model(conf, run, parameters),
        "## Data\n\n" + _data(run.get("data") or {}),
        *([notes] if notes else []),
        "## Scores\n\n" + _scores(results["scores"]),
        _LIMITS,
        "## Licence\n\n"
        f"- these weights: {weights_licence or 'not stated by the one who packed them'}\n"
        f"- code: Apache-2.0\n- the weights it started from: {licence(conf, run)}\n"
        "- the training data have licences of their own; check them before you pass this on",
        "## How to cite\n\n"
        f"The method, as this software reads it:\n\n```bibtex\n{_PAPER}\n```\n\n"
        f"The software: featnorm_se, version {version}.",
    ]
    return "\n\n".join(parts) + "\n"


_LIMITS = """## Limits

- Not causal: it needs the whole recording, or 20 s windows of it. No live use.
- It hears and gives back 0 to 8 kHz; what lies above in a recording of a higher rate is removed.
- One talker, one channel at a time; channels are enhanced by themselves, so the differences
  between them are not kept exactly.
- It knows the noises and languages of its training data. Elsewhere it can do harm: listen."""


def _model(conf: Mapping[str, Any], run: Mapping[str, Any], parameters: int) -> str:
    sites = conf.get("norm_site", "auto")
    site = sites if isinstance(sites, str) else ", ".join(sites)
    trained = ", ".join(
        f"{key} {run[key]}" for key in ("epochs", "best_epoch", "seed") if run.get(key) is not None
    )
    lines = [
        f"- upstream: {conf.get('upstream')}, started from"
        f" {run.get('upstream_identity', 'weights that were not recorded')}",
        f"- feature normalization: {conf.get('norm', 'utterance')} at {site}",
        f"- parameters: {parameters:,}",
        f"- training: {trained or 'not recorded'}",
    ]
    if run.get("weights_stored_as") == "float16":
        lines.append(
            "- weights: the matrices were rounded to float16 to halve the file, and are computed"
            " in float32: the output is near the experiment's, not the same to the bit"
        )
    return "\n".join(lines)


def _data(data: Mapping[str, Any]) -> str:
    counts = data.get("counts") or {}
    lines = [
        f"- {part}: {count.get('pairs')} pairs, {count.get('hours')} hours,"
        f" {len(count.get('speakers') or [])} speakers"
        for part, count in counts.items()
    ]
    return "\n".join(lines) or "Not recorded."


def _scores(scores: Mapping[str, Any]) -> str:
    tables = []
    for testset, both in scores.items():
        enhanced = both["enhanced"].get("metrics") or {}
        noisy = both["noisy"].get("metrics") or {}
        rows = [
            f"| {metric} | {_mean(noisy.get(metric))} | {_mean(value)} |"
            for metric, value in enhanced.items()
        ]
        count = both["enhanced"].get("utterances", "?")
        head = f"{testset}, means over {count} utterances:\n\n| score | noisy | enhanced |"
        tables.append("\n".join([head, "| --- | ---: | ---: |", *rows]))
    return "\n\n".join(tables) or "Not measured."


def _mean(metric: Mapping[str, Any] | None) -> str:
    mean = (metric or {}).get("mean")
    return "" if mean is None else f"{mean:.3f}"


def licence(conf: Mapping[str, Any], run: Mapping[str, Any]) -> str:
    """Return the licence of the weights that training started from."""
    from featnorm_se.upstream.registry import upstream_card

    if str(run.get("upstream_identity", "")).startswith("scratch"):
        return "random ones, nobody's"
    if run.get("own_checkpoint"):
        return "those of the checkpoint that it was given, see how that came to be"
    try:
        return str(upstream_card(str(conf.get("upstream")))["licence"])
    except (FeatnormError, KeyError):
        return "not known here"
