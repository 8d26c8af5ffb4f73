"""The ESPnet task: enhancement that starts from a pre-trained upstream and its statistics."""

import argparse
import contextlib
import copy
import io
import logging
import math
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar
from unittest.mock import patch

import torch

# typeguard compiles a whole file anew for each function that it is to check: 3 of 4 seconds of
# this import. ESPnet's functions go unchecked in a process that imports them here.
# And what it imports, and never uses here, warns, and prints that flash_attn is not installed.
with (
    patch("typeguard.typechecked", lambda target: target),
    contextlib.redirect_stdout(io.StringIO()),
    contextlib.redirect_stderr(io.StringIO()),
):
    from espnet2.tasks.abs_task import optim_classes, scheduler_classes
    from espnet2.tasks.enh import EnhancementTask, criterion_choices, separator_choices

from featnorm_se.data.scp import read_scp
from featnorm_se.errors import FeatnormError
from featnorm_se.model.loss import CRITERIONS
from featnorm_se.model.separator import FeatNormSeparator
from featnorm_se.names import LEVEL_SITE
from featnorm_se.statistics import FeatureStats
from featnorm_se.training.checks import check_criteria, check_one_stft
from featnorm_se.training.initial import InitialModel, load_start
from featnorm_se.training.record import CHECKPOINT
from featnorm_se.training.trainer import Batch, FeatNormTrainer
from featnorm_se.upstream.base import Upstream


def register() -> None:
    """Make the separator and the losses known to ESPnet's enhancement task, in this process.

    Training, resuming and ESPnet's stock inference read the same dictionaries, so one call
    serves them all; a second call changes nothing.
    """
    separator_choices.classes["featnorm"] = FeatNormSeparator
    criterion_choices.classes |= CRITERIONS


class FeatNormTask(EnhancementTask):
    """Enhancement with two learning rates and a start from pre-trained weights.

    Only this task puts the pre-trained weights and the statistics in. ESPnet's own
    EnhancementTask builds the same model from the same ``config.yaml`` without needing either
    file, which is what inference wants.

    Attributes:
        built: the model that ``main`` is to train, where it is built already. A process that
            torch spawns (one a GPU) has none and builds its own.
    """

    trainer = FeatNormTrainer
    built: ClassVar[torch.nn.Module | None] = None

    @classmethod
    def main_worker(cls, args: argparse.Namespace) -> None:
        """Build and train, in each of the processes that share the work."""
        data = args.train_data_path_and_name_and_type + args.valid_data_path_and_name_and_type
        cls.trainer.files = [file for scp, *_ in data for file in read_scp(scp).values()]
        super().main_worker(args)
        if args.distributed:
            # ESPnet leaves the group open; its threads then abort a process that ends.
            torch.distributed.barrier()
            torch.distributed.destroy_process_group()

    @classmethod
    def add_task_arguments(cls, parser: argparse.ArgumentParser) -> None:
        super().add_task_arguments(parser)
        add = parser.add_argument_group(description="Feature normalization related").add_argument
        files = ("upstream_ckpt", "upstream_conf_dir", "clean_stats", "noisy_stats", "init_model")
        for name in files:
            add(f"--{name}", help="see featnorm-se train --help")
        add("--upstream_lr_scale", type=float, default=0.1, help="of the head's learning rate")
        add("--max_bad_steps", type=int, default=10, help="see WatchedBatches; 0: never stop")

    @classmethod
    def get_parser(cls) -> argparse.ArgumentParser:
        register()
        parser: argparse.ArgumentParser = super().get_parser()
        # ESPnet would run three utterances after each epoch, looking for ESPnet's own attentions.
        parser.set_defaults(num_att_plot=0)
        return parser

    @classmethod
    def build_model(
        cls,
        args: argparse.Namespace,
        upstream: Upstream | None = None,
        initial: InitialModel | None = None,
    ) -> Any:
        """Build the model and, unless the run resumes, start it from the pre-trained weights.

        Args:
            args: ESPnet's options.
            upstream: the loaded upstream that becomes part of the model; ``None``: load it.
            initial: the trained model that it is of, to start from as a whole.

        Raises:
            FeatnormError: the checkpoint or the statistics are missing or do not fit, or the
                encoder, the separator and the decoder do not share one STFT.
        """
        if cls.built is not None:
            model, cls.built = cls.built, None
            return model
        register()
        check_one_stft(vars(args))
        conf = dict(args.separator_conf)
        resumes = args.resume and (Path(args.output_dir) / CHECKPOINT).is_file()
        if upstream is None and not resumes:
            names = (args.upstream_conf_dir, args.init_model)
            upstream, initial = load_start(
                conf["upstream"], args.upstream_ckpt, args.seed, *(n and Path(n) for n in names)
            )
        weights: dict[str, torch.Tensor] = {}
        if upstream is not None:
            conf["upstream"] = upstream
        if upstream is not None and not resumes:
            # A copy, since ESPnet's `init` draws every weight of the model anew.
            weights = copy.deepcopy((initial.separator if initial else upstream).state_dict())
        model = super().build_model(argparse.Namespace(**{**vars(args), "separator_conf": conf}))
        if initial is not None and not resumes:
            model.separator.load_state_dict(weights)
        elif not resumes:
            model.separator.start_from(weights, *_statistics(model.separator, args))
        return model

    @classmethod
    def build_chunk_iter_factory(cls, *options: Any, **named: Any) -> Any:
        """Have utterances come to the process that cuts them into pieces at little cost."""
        factory: Any = super().build_chunk_iter_factory(*options, **named)
        factory.per_sample_iter_factory = _AsArrays(factory.per_sample_iter_factory)
        return factory

    @classmethod
    def build_optimizers(
        cls, args: argparse.Namespace, model: torch.nn.Module
    ) -> list[torch.optim.Optimizer]:
        """One optimizer with two groups: the head's and, at ``upstream_lr_scale``, the upstream's.

        Parameters that are switched off are in neither.
        """
        prefix = "separator.upstream."
        trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        # The weights of `mix` are new, so they learn at the head's rate.
        slow = [p for n, p in trained if n.startswith(prefix) and ".norms." not in n]
        fast = [p for n, p in trained if not n.startswith(prefix) or ".norms." in n]
        conf = dict(args.optim_conf)
        # Another `optim` than the YAML's leaves its conf behind.
        if not isinstance(conf.get("lr"), int | float):
            fault = f"optim {args.optim} has no rate: optim_conf.lr is {conf.get('lr')!r}"
            raise FeatnormError(f"{fault}: a number such as 1e-4 is wanted")
        groups: list[dict[str, Any]] = [{"params": fast}]
        if slow:
            groups.append({"params": slow, "lr": conf["lr"] * args.upstream_lr_scale})
        if args.ngpu and args.optim in ("adam", "adamw") and "foreach" not in conf:
            conf.setdefault("fused", True)  # one kernel for all parameters
        return [optim_classes[args.optim](groups, **conf)]


class _AsArrays:
    """Lets a loader's workers send arrays: each tensor would take a file and a socket of its own,
    which is half of what an utterance costs the process that trains.
    """

    def __init__(self, factory: Any) -> None:
        self.factory = factory
        factory.collate_fn = partial(_collated_arrays, factory.collate_fn)
        factory.pin_memory = False  # what goes to the GPU is cut from it

    def build_iter(self, epoch: int, shuffle: bool | None = None) -> Iterator[Batch]:
        for ids, batch in self.factory.build_iter(epoch, shuffle):
            yield ids, {name: torch.from_numpy(value) for name, value in batch.items()}


def _collated_arrays(collate: Any, items: Any) -> Any:
    ids, batch = collate(items)
    return ids, {name: value.numpy() for name, value in batch.items()}


def parse_options(config: Mapping[str, Any], source: str) -> argparse.Namespace:
    """Hold a configuration against ESPnet's options, before anything of a run is written.

    Args:
        config: ESPnet's keys and values.
        source: what messages call it.

    Raises:
        FeatnormError: a key is none of ESPnet's, or a value is of another kind or no choice.
    """
    parser = FeatNormTask.get_parser()
    unknown = config.keys() - vars(parser.parse_args([])).keys()
    if unknown:
        raise FeatnormError(f"{source} or --set: ESPnet knows no {', '.join(sorted(unknown))}")
    parser.set_defaults(**config)
    message = io.StringIO()
    try:
        with contextlib.redirect_stderr(message):
            args = parser.parse_args([])
    except SystemExit as error:
        reason = message.getvalue().strip().rpartition("error: ")[2]
        raise FeatnormError(f"{source} or --set: {reason}") from error
    for action in parser._actions:  # argparse holds no default against them
        known, name = [*map(str, action.choices or ())], getattr(args, action.dest, None)
        if known and name is not None and str(name) not in known:
            fault = f"{source} or --set: {action.dest} {name!r}"
            raise FeatnormError(f"{fault}: none of {', '.join(known)}")
    return args


def build_parts(
    args: argparse.Namespace, source: str, upstream: Upstream, initial: InitialModel | None
) -> Any:
    """Return ``FeatNormTask.build_model``'s model, with the settings of all that trains it tried.

    Raises:
        FeatnormError: one of them is wrong; ``source`` is what the message calls them.
    """
    part, handlers = "model", [*logging.root.handlers]
    try:
        model = FeatNormTask.build_model(args, upstream, initial)
        check_criteria(args, model)
        part = "optimizer"
        optimizers = FeatNormTask.build_optimizers(args, model)
        part = "scheduler"
        if args.scheduler:
            scheduler = scheduler_classes[args.scheduler](*optimizers, **args.scheduler_conf)
            groups = optimizers[0].param_groups
            for _ in range(1000):  # out of a warm-up from 0, where all are alike
                if groups[0]["lr"] or not args.optim_conf["lr"]:
                    break
                optimizers[0].step()
                scheduler.step()
            head, *slow = (group["lr"] for group in groups)
            if slow and not math.isclose(slow[0], head * args.upstream_lr_scale):
                fault = "sets one rate for the whole model: upstream_lr_scale has to be 1 with it"
                raise FeatnormError(f"{source}: scheduler {args.scheduler} {fault}")
    except (FeatnormError, ImportError, MemoryError, OSError):  # no fault of the settings
        raise
    except Exception as e:  # whatever a key or value of *_conf leads to
        fault = f"{source}: the {part} cannot be built"
        raise FeatnormError(f"{fault}: {type(e).__name__} {e}") from e
    finally:  # what ESPnet logs here sets a log up, in place of its own that has the epochs
        logging.root.handlers[:] = handlers
    return model


def _statistics(separator: FeatNormSeparator, args: argparse.Namespace) -> list[FeatureStats]:
    """Return the statistics that the model's norm needs: none, the clean ones, the noisy ones."""
    upstream, norm = separator.upstream, separator.norm
    sites = {site: upstream.sites[site] for site in separator.norm_sites}
    if norm == "level":
        sites = {LEVEL_SITE: 1}
    found = []
    for kind in {"none": [], "corpus": ["clean", "noisy"]}.get(norm, ["clean"]):
        path = getattr(args, f"{kind}_stats")
        if not path:
            fault = f"norm {norm!r} needs {kind} statistics: run stage 2, or give --{kind}_stats"
            raise FeatnormError(fault)
        found.append(FeatureStats.load(path))
        found[-1].check(path, identity=upstream.identity, sites=sites, kind=kind)
    return found
