"""Make one file of a trained model: weights, configuration, results, model card."""

import hashlib
import io
import json
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
import yaml

from featnorm_se import __version__
from featnorm_se.config import MODEL
from featnorm_se.errors import FeatnormError, say
from featnorm_se.files import atomic_path, read_text, sha256_file
from featnorm_se.inference.enhancer import Enhancer
from featnorm_se.inference.model_file import CONFIG, WEIGHTS, Weights, find_weights, read_folder
from featnorm_se.names import SAMPLE_RATE
from featnorm_se.report.experiments import NOISY, read_experiment, same_input
from featnorm_se.statistics import FeatureStats, SiteStats

# What builds the model and how it was trained. The rest of ESPnet's configuration is paths of the
# machine it was trained on, and defaults.
_KEPT_CONFIG = (
    *MODEL,
    *("mask_module", "mask_module_conf", "criterions", "model_conf", "init"),
    *("seed", "max_epoch", "batch_type", "batch_size", "chunk_length", "grad_clip", "optim"),
    *("optim_conf", "scheduler", "scheduler_conf", "upstream_lr_scale", "keep_nbest_models"),
)
_KEPT_RECORD = (
    *("name", "seed", "upstream", "upstream_identity", "init", "norm", "norm_site", "parameters"),
    *("epochs", "training_seconds", "versions", "machine", "finished"),
)
_KEPT_SCORES = ("utterances", "metrics", "versions")


def pack(
    experiment: Path,
    output: Path,
    model_file: str | None = None,
    half: bool = False,
    notes: Path | None = None,
    licence: str | None = None,
) -> dict[str, int]:
    """Pack an experiment, each time to the same bytes; return the names and sizes of files.

    Args:
        experiment: its folder.
        output: the zip to write, whole or not at all.
        model_file: weights in the folder; ``None``: the best on validation.
        half: keep the matrices as float16, in half the bytes; they come back as float32.
        notes: Markdown for the model card, such as the training commands and the data's licences.
        licence: of these weights, as Hugging Face names it, e.g. ``cc-by-4.0``.

    Raises:
        FeatnormError: something is missing or broken, the weights do not fit the
            configuration, or the output's name does not end in .zip.
    """
    if output.suffix.lower() != ".zip":
        raise FeatnormError(f"a model is packed into a .zip: {output}.zip, say, not {output}")
    from safetensors.torch import save

    config, weights = read_folder(experiment, model_file)
    try:
        separator = Enhancer(config, weights).separator  # what does not load is not packed
    except FeatnormError as error:
        raise FeatnormError(f"{experiment}: {error}") from error
    # safetensors wants every array by itself and in order.
    plain = {key: value.detach().clone().contiguous() for key, value in weights.items()}
    kept = _only(config, _KEPT_CONFIG)
    results = read_results(experiment, find_weights(experiment, model_file))
    results["run"]["weights_stored_as"] = "float16" if half else "float32"
    members = {
        WEIGHTS: save(halve(plain) if half else plain),
        CONFIG: yaml.safe_dump(kept, sort_keys=False).encode(),
        "results.json": json.dumps(results, indent=2).encode(),
    }
    parameters = sum(weight.numel() for weight in separator.parameters())
    card = _model_card(kept["separator_conf"], results, parameters, notes, licence)
    members["README.md"] = card.encode()
    with atomic_path(output) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, data in members.items():
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.external_attr = 0o644 << 16
            archive.writestr(info, data)
    return {name: len(data) for name, data in members.items()}


def export_upstream(model: Path, output: Path, model_file: str | None = None) -> list[Path]:
    """Write a model's upstream as s3prl has it (.pt), and the clean statistics of its FN (.npz).

    They are those in the model, which keeps no number of frames: they say 1. The arguments are
    those of ``pack``; a model may be packed already. Returns the files, both or the ``.pt`` alone.

    Raises:
        FeatnormError: the model cannot be read, s3prl has no layout for its upstream, or the output
            is no ``.pt``.
    """
    if output.suffix != ".pt":
        raise FeatnormError(f"an upstream is written to a .pt: {output}.pt, say, not {output}")
    separator = Enhancer.from_pretrained(model, model_file=model_file).separator
    upstream, buffer = separator.upstream, io.BytesIO()
    torch.save(upstream.s3prl_states(), buffer)
    norms: dict[str, Any] = {} if separator.norm == "instance" else dict(upstream.norms)
    arrays = {key: [x.double().numpy() for x in (n.mean, n.std)] for key, n in norms.items()}
    sites = {k.replace("_", "."): SiteStats(1, mean, std**2) for k, (mean, std) in arrays.items()}
    meta = {"kind": "clean", "upstream": upstream.name, "sample_rate": SAMPLE_RATE}
    meta["identity"] = f"sha256:{hashlib.sha256(buffer.getbuffer()).hexdigest()}"
    files = [output, output.with_suffix(".npz")] if sites else [output]
    with atomic_path(output) as temporary:
        temporary.write_bytes(buffer.getbuffer())
        for file in files[1:]:
            FeatureStats(sites, meta).save(file)
    return files


def halve(weights: Mapping[str, torch.Tensor]) -> Weights:
    """Return the weights with the matrices in float16.

    Vectors and the norms' statistics are a hundredth of all bytes: they stay as they are, and so
    does a matrix with a number beyond float16's range.
    """
    halved = {}
    for key, value in weights.items():
        is_matrix = value.dtype == torch.float32 and value.dim() > 1 and ".norms." not in key
        half = value.half() if is_matrix else value
        halved[key] = half if torch.isfinite(half).all() else value
    return halved


def _model_card(
    conf: Mapping[str, Any],
    results: Mapping[str, Any],
    parameters: int,
    notes: Path | None,
    licence: str | None,
) -> str:
    """Return the card in Markdown, with the header that Hugging Face reads."""
    import jinja2

    run, sites = results["run"], conf.get("norm_site", "auto")
    trained = [f"{k} {run[k]}" for k in ("epochs", "weights", "seed") if run.get(k) is not None]
    folder = jinja2.FileSystemLoader(Path(__file__).parent / "templates")
    pages = jinja2.Environment(loader=folder, trim_blocks=True, keep_trailing_newline=True)
    pages.filters["score"] = lambda mean: f"{mean:.3f}" if isinstance(mean, int | float) else ""
    return pages.get_template("card.md").render(
        conf=conf,
        run=run,
        scores=results["scores"],
        parameters=parameters,
        sites=sites if isinstance(sites, str) else ", ".join(sites),
        training=", ".join(trained),
        notes=read_text(notes).strip() if notes else "",
        licence=licence,
        upstream_licence=_upstream_licence(conf, run),
        version=run.get("versions", {}).get("featnorm_se", __version__),
    )


def _upstream_licence(conf: Mapping[str, Any], run: Mapping[str, Any]) -> str:
    """Return the licence of the weights that training started from."""
    from featnorm_se.upstream import upstream_card

    if str(run.get("upstream_identity", "")).startswith("scratch"):
        return "random ones, nobody's"
    if run.get("init"):
        return "those of the model that it was trained further from"
    if run.get("own_checkpoint"):
        return "not recorded: they were named by --upstream_ckpt"
    try:
        return str(upstream_card(str(conf.get("upstream")))["licence"])
    except (FeatnormError, KeyError):
        return "not known here"


def read_results(experiment: Path, weights: Path) -> dict[str, Any]:
    """Return what is known of an experiment: its record and its scores, beside the noisy ones.

    Paths of the machine are left out, and scores of other weights than these.
    """
    own, noisy = map(read_experiment, (experiment, experiment.resolve().parent / NOISY))
    record, run = own.run, _only(own.run, _KEPT_RECORD)
    # Its path says nothing elsewhere; that there was one says that it is not the official one.
    has_own = record.get("upstream_ckpt") not in (None, "scratch")
    run["own_checkpoint"] = has_own or bool(record.get("init"))
    if run.get("init"):
        run["init"] = {**run["init"], "model": Path(run["init"]["model"]).name}
    run["weights"] = weights.resolve().name  # such as 7epoch.pth, or an average
    run["data"] = _only(record.get("data") or {}, ("counts", "sources", "resampler"))
    scores = {}
    packed = {sha256_file(weights)}
    for testset, summary in own.summaries.items():
        if {one["model"] for one in summary.get("enhanced_with", ())} - packed:
            say(f"warning: {experiment}/scores_{testset} is of other weights: left out")
            continue
        beside = noisy.summaries.get(testset, {}) if same_input((own, noisy), testset) else {}
        both = {"enhanced": summary, "noisy": beside}
        scores[testset] = {name: _only(one, _KEPT_SCORES) for name, one in both.items()}
    return {"run": run, "scores": scores}


def _only(found: Mapping[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    return {key: found[key] for key in keys if key in found}
