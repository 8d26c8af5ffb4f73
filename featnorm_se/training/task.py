"""The ESPnet task: enhancement that starts from a pre-trained upstream and its statistics."""

from __future__ import annotations

import argparse
import logging
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import torch
import yaml
from espnet2.enh.espnet_model import ESPnetEnhancementModel
from espnet2.tasks.abs_task import optim_classes, scheduler_classes
from espnet2.tasks.enh import EnhancementTask, criterion_choices, separator_choices
from espnet2.utils.types import str2bool

from featnorm_se.errors import FeatnormError
from featnorm_se.model.loss import LogMagnitudeL1
from featnorm_se.model.separator import FeatNormSeparator
from featnorm_se.names import LEVEL_SITE, SAMPLE_RATE
from featnorm_se.statistics import FeatureStats
from featnorm_se.training.checkpoints import CHECKPOINT, whole_files
from featnorm_se.training.peers import Peers, check_shares
from featnorm_se.training.postponed import postpone_compiler
from featnorm_se.training.trainer import FeatNormTrainer
from featnorm_se.upstream import load_upstream

SEPARATOR = "featnorm"
CRITERION = "log1p_l1"


def register() -> None:
    """Make the separator and the loss known to ESPnet's enhancement task, in this process.

    Training, resuming and ESPnet's stock inference read the same dictionaries, so one call
    serves them all; a second call changes nothing.
    """
    separator_choices.classes[SEPARATOR] = FeatNormSeparator
    criterion_choices.classes[CRITERION] = LogMagnitudeL1


class FeatNormTask(EnhancementTask):
    """Enhancement with two learning rates and a start from pre-trained weights.

    Only this task puts the pre-trained weights and the statistics in. ESPnet's own
    EnhancementTask builds the same model from the same ``config.yaml`` without needing either
    file, which is what inference wants.
    """

    trainer = FeatNormTrainer

    @classmethod
    def main_worker(cls, args: argparse.Namespace) -> None:
        """Build and train; what is saved is whole, and no process waits for one that has died."""
        with Peers.of(args) as peers, whole_files():
            check_shares(args, peers.size)
            make_deterministic(args)
            postpone_compiler()
            super().main_worker(args)
            peers.leave()

    @classmethod
    def add_task_arguments(cls, parser: argparse.ArgumentParser) -> None:
        super().add_task_arguments(parser)
        group = parser.add_argument_group(description="Feature normalization related")
        group.add_argument(
            "--upstream_ckpt",
            default=None,
            help="the pre-trained checkpoint: a path, a URL, 'scratch', or none for the"
            " official one of the upstream's name",
        )
        group.add_argument(
            "--upstream_conf_dir", default=None, help="where the recipe keeps upstreams' YAML"
        )
        group.add_argument("--clean_stats", default=None, help="clean statistics of stage 2")
        group.add_argument("--noisy_stats", default=None, help="noisy statistics of stage 2")
        group.add_argument(
            "--upstream_lr_scale",
            type=float,
            default=0.1,
            help="the upstream's learning rate, as a part of the head's",
        )
        group.add_argument(
            "--deterministic",
            type=str2bool,
            default=False,
            help="only algorithms that give the same bits every time",
        )
        group.add_argument(
            "--max_bad_steps",
            type=int,
            default=10,
            help="stop after so many steps on end whose loss or gradient is not finite; 0: never",
        )

    @classmethod
    def get_parser(cls) -> argparse.ArgumentParser:
        register()
        parser: argparse.ArgumentParser = super().get_parser()
        # ESPnet would run three utterances after each epoch, looking for ESPnet's own attentions.
        parser.set_defaults(num_att_plot=0)
        return parser

    @classmethod
    def build_model(cls, args: argparse.Namespace) -> ESPnetEnhancementModel:
        """Build the model and, unless the run resumes, start it from the pre-trained weights.

        Raises:
            FeatnormError: the checkpoint or the statistics are missing or do not fit, or the
                encoder, the separator and the decoder do not share one STFT.
        """
        register()
        check_one_stft(vars(args))
        model = super().build_model(args)
        on_cpu = getattr(args, "use_amp", False) and not getattr(args, "ngpu", 0)
        if on_cpu and args.separator == SEPARATOR:
            model.separator.bf16 = True  # ESPnet's own autocast is for GPUs only
        resumes = args.resume and (Path(args.output_dir) / CHECKPOINT).is_file()
        if args.separator == SEPARATOR and not resumes:
            cls._start(model.separator, args)
        return model

    @classmethod
    def _start(cls, separator: FeatNormSeparator, args: argparse.Namespace) -> None:
        upstream = load_upstream(
            args.separator_conf["upstream"],
            args.upstream_ckpt,
            seed=args.seed,
            conf_dir=Path(args.upstream_conf_dir) if args.upstream_conf_dir else None,
        )
        norm = separator.norm
        sites = {site: upstream.sites[site] for site in separator.norm_sites}
        if norm == "level":
            sites = {LEVEL_SITE: 1}
        clean = noisy = None
        if norm != "none":
            clean = _load_stats(args.clean_stats, "clean", upstream.identity, sites)
        if norm == "corpus":
            noisy = _load_stats(args.noisy_stats, "noisy", upstream.identity, sites)
        separator.start_from(upstream.state_dict(), clean, noisy)
        logging.info(f"The upstream starts from {upstream.identity}, norm {norm} at {list(sites)}")

    @classmethod
    def build_optimizers(
        cls, args: argparse.Namespace, model: torch.nn.Module
    ) -> list[torch.optim.Optimizer]:
        """One optimizer with two groups: the head's and, at ``upstream_lr_scale``, the upstream's.

        Parameters that are switched off are in neither.
        """
        optimizer = optim_classes.get(args.optim)
        if optimizer is None:
            raise FeatnormError(
                f"optim: no such optimizer: {args.optim!r}; there are {', '.join(optim_classes)}"
            )
        prefix = "separator.upstream."
        trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        # The weights of `mix` are new, so they learn at the head's rate.
        slow = [p for n, p in trained if n.startswith(prefix) and ".norms." not in n]
        fast = [p for n, p in trained if not n.startswith(prefix) or ".norms." in n]
        groups: list[dict[str, Any]] = [{"params": fast}]
        if slow:
            learning_rate = args.optim_conf.get("lr", 1e-3)
            groups.append({"params": slow, "lr": learning_rate * args.upstream_lr_scale})
        conf = {"lr": 1e-3, **args.optim_conf}
        return [optimizer(groups, **conf)]


def make_deterministic(args: argparse.Namespace) -> None:
    """Let torch take only algorithms that give the same bits every time, when asked."""
    # The call imports torch's compiler, a second or two: only where it changes something.
    if args.deterministic != torch.are_deterministic_algorithms_enabled():
        torch.use_deterministic_algorithms(args.deterministic)
    if args.deterministic:
        args.cudnn_deterministic, args.cudnn_benchmark = True, False
        # CUDA's matrix products need a workspace of a fixed size for that.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def check_options(config: Mapping[str, Any], source: str) -> None:
    """Hold a configuration against ESPnet's options, before anything of a run is written.

    Args:
        config: ESPnet's keys and values.
        source: what messages call it.

    Raises:
        FeatnormError: a key is none of ESPnet's, or a value is of another kind or no choice.
    """

    def refuse(message: str) -> NoReturn:
        raise FeatnormError(f"{source} or --set: {message.partition(' (from')[0]}")

    parser = FeatNormTask.get_parser()
    parser.error = refuse  # type: ignore[method-assign]
    with tempfile.NamedTemporaryFile("w", suffix=".yaml", encoding="utf-8") as file:
        yaml.safe_dump(dict(config), file)
        file.flush()
        args = parser.parse_args(["--config", file.name])
    for key, known in (("optim", optim_classes), ("scheduler", scheduler_classes)):
        if getattr(args, key) not in (*known, None):
            refuse(f"{key}: {getattr(args, key)!r} is none of {', '.join(known)}")
    parts = args.criterions if isinstance(args.criterions, list) else [None]
    names = [str(part.get("name")) if isinstance(part, dict) else "" for part in parts]
    if not all(name in criterion_choices.classes for name in names):
        known_names = ", ".join(map(str, criterion_choices.classes))
        refuse(f"criterions: a list of groups is wanted, each with a name of {known_names}")
    for key in ("max_epoch", "batch_size", "chunk_length", "log_interval"):
        value = getattr(args, key)
        if isinstance(value, int) and value < 1:
            refuse(f"{key}: {value}, at least 1 is needed")


def check_one_stft(config: Mapping[str, Any]) -> None:
    """Check that encoder, separator and decoder name the same STFT.

    Raises:
        FeatnormError: they do not; the message has the values.
    """
    parts = ("encoder_conf", "separator_conf", "decoder_conf")
    for key in ("n_fft", "hop_length", "win_length"):
        values = {part: (config.get(part) or {}).get(key) for part in parts}
        if len(set(values.values())) != 1 or None in values.values():
            told = ", ".join(f"{part}.{key} {value}" for part, value in values.items())
            raise FeatnormError(f"one STFT is needed, the configuration has {told}")


def _load_stats(
    path: str | None, kind: str, identity: str, sites: Mapping[str, int]
) -> FeatureStats:
    if not path:
        raise FeatnormError(
            f"this norm needs {kind} statistics: run stage 2, or give --{kind}_stats"
        )
    stats = FeatureStats.load(path)
    try:
        stats.check(identity=identity, sites=sites, sample_rate=SAMPLE_RATE, kind=kind)
    except FeatnormError as error:
        raise FeatnormError(f"{path}: {error}") from error
    return stats
