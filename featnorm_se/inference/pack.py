"""Make one file of a trained model: weights, configuration, statistics, results, model card."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from featnorm_se.errors import FeatnormError
from featnorm_se.files import atomic_path
from featnorm_se.inference.card import model_card
from featnorm_se.inference.enhancer import Enhancer
from featnorm_se.inference.loading import CONFIG, WEIGHTS, read_folder
from featnorm_se.statistics import FeatureStats

# What builds the model, here and in ESPnet's stock inference, and how it was trained. The rest
# of ESPnet's configuration is paths of the machine it was trained on, and defaults.
_BUILDS = (
    *("encoder", "encoder_conf", "separator", "separator_conf", "decoder", "decoder_conf"),
    *("mask_module", "mask_module_conf", "criterions", "model_conf", "init"),
)
_TRAINED = (
    *("seed", "max_epoch", "batch_type", "batch_size", "chunk_length", "grad_clip", "optim"),
    *("optim_conf", "scheduler", "scheduler_conf", "upstream_lr_scale", "keep_nbest_models"),
)


_LONGEST_NOTES = 1 << 20  # bytes


@dataclass(frozen=True)
class PackOptions:
    """How an experiment is packed.

    Attributes:
        model_file: weights in the folder; ``None``: the best on validation.
        half: keep the matrices as float16, in half the bytes; they come back as float32.
        notes: Markdown for the model card, such as the training commands and the data's licences.
        licence: of these weights, as Hugging Face names it, e.g. ``cc-by-4.0``.
    """

    model_file: str | None = None
    half: bool = False
    notes: Path | None = None
    licence: str | None = None


def pack(experiment: Path, output: Path, options: PackOptions | None = None) -> dict[str, int]:
    """Pack an experiment.

    Args:
        experiment: its folder.
        output: the ``.zip`` to write.
        options: what is packed, and what the card says beside; ``None``: the best weights.

    Returns:
        The packed files' names and sizes in bytes.

    Raises:
        FeatnormError: something is missing or broken, or the weights do not fit the
            configuration: a packed model has been loaded once.
    """
    if output.suffix != ".zip":
        raise FeatnormError(f"a packed model is a .zip, {output} is none")
    members = contents(experiment, options or PackOptions())
    _write_archive(output, members)
    Enhancer.from_pretrained(output)
    return {name: len(data) for name, data in members.items()}


def _write_archive(path: Path, members: dict[str, bytes]) -> None:
    """Write a packed model, whole or not at all; the same members give the same bytes."""
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, data in members.items():
            info: Any = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.external_attr = 0o644 << 16
            archive.writestr(info, data)


def contents(experiment: Path, options: PackOptions) -> dict[str, bytes]:
    """Return the packed files of an experiment, by name.

    Raises:
        FeatnormError: something is missing or broken, or the weights do not fit the
            configuration.
    """
    from safetensors.torch import save

    notes = read_notes(options.notes) if options.notes else ""
    config, weights = read_folder(experiment, options.model_file)
    if config.get("separator") != "featnorm":
        raise FeatnormError(f"{experiment}: separator {config.get('separator')!r} is not ours")
    try:
        Enhancer(config, weights)  # what loads no model is not to be written at all
    except FeatnormError as error:
        raise FeatnormError(f"{experiment}: {error}") from error
    # safetensors wants every array by itself and in order.
    plain = {key: value.detach().clone().contiguous() for key, value in weights.items()}
    kept = {key: config[key] for key in (*_BUILDS, *_TRAINED) if key in config}
    results = read_results(experiment)
    results["run"]["weights_stored_as"] = "float16" if options.half else "float32"
    members = {
        WEIGHTS: save(halve(plain) if options.half else plain),
        CONFIG: yaml.safe_dump(kept, sort_keys=False).encode(),
        "results.json": json.dumps(results, indent=2).encode(),
    }
    statistics = _find_statistics(experiment, config)
    if statistics is not None:
        members["clean_stats.npz"] = statistics
    parameters = sum(value.numel() for key, value in plain.items() if _is_weight(key, value))
    card = model_card(kept, results, parameters, notes, options.licence)
    members["README.md"] = card.encode()
    return members


def halve(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the weights with the matrices in float16.

    Vectors and the norms' statistics are a hundredth of all bytes: they stay as they are, and so
    does a matrix with a number beyond float16's range.
    """
    halved = {}
    for key, value in weights.items():
        half = value
        if value.dtype == torch.float32 and value.dim() > 1 and ".norms." not in key:
            half = value.half()
        halved[key] = half if torch.isfinite(half).all() else value
    return halved


def read_notes(path: Path) -> str:
    """Return the text that is to go into the model card.

    Raises:
        FeatnormError: it cannot be read, is no UTF-8, empty, or too long for a card.
    """
    try:
        text = path.read_bytes().decode("utf-8").strip()
    except OSError as error:
        raise FeatnormError(f"cannot read the notes {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise FeatnormError(f"the notes {path} are no UTF-8 text (byte {error.start})") from error
    if not 0 < len(text) <= _LONGEST_NOTES:
        raise FeatnormError(f"the notes {path} have {len(text)} characters: no text for a card")
    return text


def _is_weight(key: str, value: torch.Tensor) -> bool:
    return value.is_floating_point() and ".norms." not in key


def read_results(experiment: Path) -> dict[str, Any]:
    """Return what is known of an experiment: its record and its scores, beside the noisy ones.

    Paths of the machine are left out.
    """
    record = _read_json(experiment / "run.json")
    data = record.pop("data", None) or {}
    kept: tuple[str, ...] = (
        "name",
        "seed",
        "upstream",
        "upstream_identity",
        "norm",
        "norm_site",
        "parameters",
    )
    kept += ("epochs", "best_epoch", "training_seconds", "versions", "machine", "finished")
    run = {key: record[key] for key in kept if key in record}
    # Its path says nothing elsewhere; that there was one says that it is not the official one.
    run["own_checkpoint"] = record.get("upstream_ckpt") not in (None, "scratch")
    run["data"] = {key: data[key] for key in ("counts", "sources", "resampler") if key in data}
    scores = {}
    for folder in sorted(experiment.glob("scores_*")):
        noisy = experiment.parent / "noisy" / folder.name / "summary.json"
        scores[folder.name.removeprefix("scores_")] = {
            "enhanced": _scores(_read_json(folder / "summary.json")),
            "noisy": _scores(_read_json(noisy)),
        }
    return {"run": run, "scores": scores}


def _scores(summary: Mapping[str, Any]) -> dict[str, Any]:
    kept = ("utterances", "metrics", "versions")
    return {key: summary[key] for key in kept if key in summary}


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FeatnormError(f"{path} is no JSON: {error}") from error
    return value if isinstance(value, dict) else {}


def _find_statistics(experiment: Path, config: Mapping[str, Any]) -> bytes | None:
    """Return the clean statistics' file, if it is still where training had it.

    What the model needs of it is in its weights. The path is relative to the recipe, which is
    one of the folders above the experiment.
    """
    named = config.get("clean_stats")
    if not named:
        return None
    for folder in (Path(), *experiment.resolve().parents):
        if (folder / named).is_file():
            FeatureStats.load(folder / named)
            return (folder / named).read_bytes()
    return None
