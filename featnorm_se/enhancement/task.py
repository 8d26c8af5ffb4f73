"""The ESPnet task: enhancement that starts from a pre-trained upstream and its statistics."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from espnet2.enh.espnet_model import ESPnetEnhancementModel
from espnet2.tasks.abs_task import optim_classes
from espnet2.tasks.enh import EnhancementTask, criterion_choices, separator_choices

from featnorm_se.enhancement.loss import LogMagnitudeL1
from featnorm_se.enhancement.separator import FeatNormSeparator
from featnorm_se.errors import FeatnormError
from featnorm_se.names import LEVEL_SITE, SAMPLE_RATE
from featnorm_se.statistics import FeatureStats
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

    @classmethod
    def get_parser(cls) -> argparse.ArgumentParser:
        register()
        return super().get_parser()

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
        resumes = args.resume and (Path(args.output_dir) / "checkpoint.pth").is_file()
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
