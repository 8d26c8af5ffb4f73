"""One experiment: options in; ESPnet's configuration, the run's own record and weights out."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featnorm_se.config import merge_configs, override_config, read_config
from featnorm_se.data.datadir import stamp_recordings, validate_data_dir
from featnorm_se.data.scp import write_scp
from featnorm_se.errors import FeatnormError, say
from featnorm_se.files import read_json, remove_temporary, sha256_file
from featnorm_se.names import FEATURE_NORMS, SAMPLE_RATE, check_norm, check_sites
from featnorm_se.statistics import FeatureStats
from featnorm_se.training import record
from featnorm_se.training.checks import STFT, check_settings
from featnorm_se.training.initial import FIGURES, InitialModel, load_start

if TYPE_CHECKING:
    from featnorm_se.upstream.base import Upstream


@dataclass(frozen=True)
class Experiment:
    """What one fine-tuning run is about.

    Attributes: the options of ``featnorm-se train``, whose ``--help`` says what each is
        (``upstream``, ``norm`` and ``norm_site`` may be empty with ``init``), and

        overrides: the words of ``--set``, such as ``separator_conf.units=128``.
        launcher: what ``espnet2.bin.launch`` gives each process, in ESPnet's keys (``dist_*``).
    """

    expdir: Path
    config: Path
    train_dir: Path
    valid_dir: Path
    upstream: str
    norm: str
    norm_site: str
    seed: int
    ngpu: int
    upstream_ckpt: str | None = None
    upstream_conf_dir: Path | None = None
    clean_stats: Path | None = None
    noisy_stats: Path | None = None
    init: Path | None = None
    overrides: Sequence[str] = ()
    command: str = ""
    launcher: Mapping[str, str] = field(default_factory=dict)


def train(experiment: Experiment) -> None:
    """Fine-tune one model with ESPnet's trainer; a run that was cut goes on where it was.

    Raises:
        FeatnormError: bad input: data directories, upstream, norm, site, statistics, YAML.
    """
    expdir = experiment.expdir
    train_lists, valid_lists = map(validate_data_dir, (experiment.train_dir, experiment.valid_dir))
    if experiment.init is None:
        check_norm(experiment.norm)
    elif experiment.init.resolve() == expdir.resolve():
        raise FeatnormError(f"--init {experiment.init} is this run itself: give it another --tag")
    for name in ("upstream_ckpt", "clean_stats", "noisy_stats") if experiment.init else ():
        if value := getattr(experiment, name):
            raise FeatnormError(f"--{name} {value}: leave it out, --init {experiment.init} has it")
    keys = ("upstream", "upstream_ckpt", "seed", "upstream_conf_dir", "init")
    upstream, initial = load_start(*(getattr(experiment, key) for key in keys))
    config = resolve_config(experiment, upstream, initial)
    norm = config["separator_conf"]["norm"]
    for kind, is_used in (("clean", norm != "none"), ("noisy", norm == "corpus")):
        if (path := getattr(experiment, f"{kind}_stats")) and not is_used:
            raise FeatnormError(f"--{kind}_stats {path}: the norm {norm} uses none, leave it out")
    about = describe(experiment, config, upstream)
    known = about["data"].get("recordings", {})
    for folder in (experiment.train_dir, experiment.valid_dir):
        if folder.name in known and stamp_recordings(folder) != known[folder.name]:
            fault = f"{folder} names other recordings, or of other times, than when stage 1 ended"
            say(f"warning: {fault}: run stage 1 again, if that is not meant")
    if record.is_finished(expdir, about):
        say(f"{expdir} is trained already")
        return
    # Only now: importing the task takes time, and every check above should come first.
    from espnet2.torch_utils.set_all_random_seed import set_all_random_seed

    from featnorm_se.training.task import FeatNormTask, build_parts, parse_options

    # Processes that an outer launcher started share the folder: the first one keeps the record.
    is_first = process_rank(experiment.launcher) == 0
    if is_first:
        remove_temporary(expdir)
        record.undo_cut_saving(expdir)
    args = parse_options({**config, **experiment.launcher}, str(experiment.config))
    set_all_random_seed(args.seed)
    model = build_parts(args, f"{experiment.config} or --set", upstream, initial)
    weights = list(model.separator.parameters())
    about["parameters"] = {
        "total": sum(weight.numel() for weight in weights),
        "trainable": sum(weight.numel() for weight in weights if weight.requires_grad),
    }
    if is_first:
        write_scp(expdir / "valid_shape", valid_lists["samples"])
        if args.train_shape_file:
            write_scp(expdir / "train_shape", train_lists["samples"])
    FeatNormTask.built = model
    try:
        with record.recorded(expdir, about) if is_first else nullcontext():
            FeatNormTask.main(args=args)
    finally:
        FeatNormTask.built = None


def resolve_config(
    experiment: Experiment, upstream: Upstream, initial: InitialModel | None = None
) -> dict[str, Any]:
    """Return the run's ESPnet configuration: the YAML, the overrides and the experiment's own.

    The separator's part is written so that ``config.yaml`` alone builds the model again.
    """
    config = override_config(read_training_config(experiment.config), experiment.overrides)
    conf = dict(config.get("separator_conf", {}))
    words = ("upstream", "norm", "norm_site")
    named = {key: value for key in words if (value := getattr(experiment, key))}
    for held in (conf, named):
        if "norm_site" in held:
            held["norm_site"] = upstream.resolve_sites(held["norm_site"])
    written = {**config, **conf}
    for key, value in {**named, "seed": experiment.seed, "ngpu": experiment.ngpu}.items():
        if value != written.get(key, value):
            fault = f"{key} {written[key]!r} does not count, --{key} {value!r} does: give it there"
            raise FeatnormError(f"{experiment.config} or --set: {fault}")
    config["separator_conf"] = conf | named
    if initial is not None:
        config = initial.complete(config)
    check_settings(config, str(experiment.config))
    check_sites(config["separator_conf"]["norm"], config["separator_conf"]["norm_site"])
    if config["separator_conf"].get("freeze") == "cnn" and not upstream.cnn_parts():
        fault = f"the family {upstream.family} has no convolutions to freeze"
        raise FeatnormError(f"{experiment.config} or --set: separator_conf.freeze cnn: {fault}")
    encoder = config.setdefault("encoder_conf", {})
    config["separator"] = "featnorm"
    config["separator_conf"] = {
        **{key: value for key, value in encoder.items() if key in STFT},
        **config["separator_conf"],
        "upstream_conf": {"family": upstream.family, **upstream.config},
    }
    config |= {key: getattr(experiment, key) for key in ("seed", "ngpu", "upstream_ckpt")}
    for key in ("upstream_conf_dir", "clean_stats", "noisy_stats", "init"):
        path = getattr(experiment, key)
        # ESPnet's own `init` is how random weights are drawn.
        config["init_model" if key == "init" else key] = None if path is None else str(path)
    talkers = config["separator_conf"].get("num_spk", 1)
    if config.get("preprocessor"):  # ESPnet's defaults are another corpus's
        config = {"num_spk": talkers, "sample_rate": SAMPLE_RATE, **config}
    config |= list_data(experiment, talkers)
    wrappers = {one.get("wrapper", "fixed_order") for one in config.get("criterions") or [{}]}
    if talkers > 1 and "fixed_order" in wrappers:
        fault = "criterions with the wrapper fixed_order know no order of talkers, pit does"
        raise FeatnormError(f"{experiment.config}: {fault}")
    config |= {"output_dir": str(experiment.expdir), "resume": True}
    config["valid_shape_file"] = [str(experiment.expdir / "valid_shape")]
    if config.get("iterator_type", "sequence") == "sequence":
        config["train_shape_file"] = [str(experiment.expdir / "train_shape")]
        config.setdefault("batch_type", "sorted")
    add_figures(config, talkers)
    return config


def list_data(experiment: Experiment, talkers: int) -> dict[str, list[list[str]]]:
    """Return ESPnet's keys for the lists to train and to validate with.

    Raises:
        FeatnormError: a folder has another number of talkers.
    """
    found = {}
    for name, folder in (("train", experiment.train_dir), ("valid", experiment.valid_dir)):
        clean = [p for p in (folder / "spk1.scp", folder / "spk2.scp") if p.is_file()]
        if len(clean) != talkers:
            fault = f"{folder} has clean speech of {len(clean)} talkers, not {talkers}"
            raise FeatnormError(f"{fault}: --num_spk and separator_conf.num_spk must be the same")
        found[f"{name}_data_path_and_name_and_type"] = [
            [str(folder / "wav.scp"), "speech_mix", "sound"],
            *([str(scp), f"speech_ref{n}", "sound"] for n, scp in enumerate(clean, start=1)),
        ]
    return found


def add_figures(config: dict[str, Any], talkers: int) -> None:
    """Let validation report SI-SNR and PESQ_WB where they choose the best epoch."""
    # ESPnet's own default chooses by figures, too, that enhancement does not have.
    criteria = config.setdefault("best_model_criterion", [["valid", "loss", "min"]])
    how: dict[str, Any] = {"conf": {}, "wrapper": "fixed_order", "wrapper_conf": {"weight": 0.0}}
    if talkers > 1:  # in the order that the loss has found: by itself, pit takes the least figure
        how |= {"wrapper": "pit", "wrapper_conf": {"weight": 0.0, "independent_perm": False}}
    asked = [name for name in FIGURES if ["valid", name.removeprefix("valid_"), "max"] in criteria]
    if losses := [one for one in config.get("criterions") or () if one.get("name") not in asked]:
        config["criterions"] = losses + [{"name": name, **how} for name in asked]


def read_training_config(path: Path, readers: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Read a training YAML.

    ``base: other.yaml`` in it names a file beside it whose keys it changes or adds to, see
    ``merge_configs``; ``readers`` are the files that name it as their base, one by the other.

    Raises:
        FeatnormError: the file or its base is missing or no YAML, or is its own base.
    """
    if path.resolve() in readers:
        raise FeatnormError(f"{path} is its own base")
    config = merge_configs({}, read_config(path))
    name = config.pop("base", None)
    if name is None:
        return config
    above = read_training_config(path.parent / str(name), (*readers, path.resolve()))
    return merge_configs(above, config)


def describe(
    experiment: Experiment, config: Mapping[str, Any], upstream: Upstream
) -> dict[str, Any]:
    """Return what ``run.json`` says of the experiment before it starts."""
    prepared = experiment.train_dir.parent / "prepare.json"
    data = read_json(prepared) if prepared.is_file() else {}
    model = config["separator_conf"]
    acts = model["norm"] in FEATURE_NORMS
    init = experiment.init
    return {
        "name": experiment.expdir.name,
        "command": experiment.command,
        "seed": experiment.seed,
        "init": init and {"model": str(init.resolve()), "weights": upstream.identity},
        "upstream": model["upstream"],
        "upstream_ckpt": experiment.upstream_ckpt,
        "upstream_identity": upstream.identity,
        "norm": model["norm"],
        "norm_site": ",".join(model["norm_site"]) if acts else "",
        "config": dict(config),
        "statistics": {
            kind: {"file": str(path), "sha256": sha256_file(path)}
            | {"corpus": FeatureStats.load(path).meta.get("corpus")}
            for kind, path in (("clean", experiment.clean_stats), ("noisy", experiment.noisy_stats))
            if path is not None and path.is_file()
        },
        "data_sources": data.get("sources"),
        "max_epoch": config.get("max_epoch"),
        "data": data,
    }


def process_rank(launcher: Mapping[str, str]) -> int:
    """Return which of the processes of a run this is; 0, the only or first one, keeps the record.

    Args:
        launcher: what ``espnet2.bin.launch`` gave it, in ESPnet's keys; without that, ``RANK`` of
            the environment counts (srun and torchrun on the CPU).
    """
    if not launcher.get("dist_launcher"):
        return int(launcher.get("dist_rank") or os.environ.get("RANK") or 0)
    from espnet2.train.distributed_utils import get_node_rank

    return get_node_rank(None, launcher["dist_launcher"]) or 0
