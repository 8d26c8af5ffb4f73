"""ESPnet's files of a training, written whole, and mended where a kill came between two of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import wraps
from pathlib import Path
from typing import Any

import torch

from featnorm_se.errors import FeatnormError
from featnorm_se.files import atomic_path, remove_temporary
from featnorm_se.upstream.checkpoint import save_states

CHECKPOINT = "checkpoint.pth"


@contextmanager
def whole_files() -> Iterator[None]:
    """While it lasts, what ESPnet saves in a file is there whole or not at all.

    ESPnet's trainer writes ``checkpoint.pth`` over the last one and its task ``config.yaml``, both
    in one long method each that leaves nothing to override: hence the two names are replaced.
    """
    from espnet2.tasks import abs_task

    save, dump = torch.save, abs_task.yaml_no_alias_safe_dump
    torch.save, abs_task.yaml_no_alias_safe_dump = _whole_save(save), _whole_dump(dump)
    try:
        yield
    finally:
        torch.save, abs_task.yaml_no_alias_safe_dump = save, dump


def _whole_save(save: Callable[..., None]) -> Callable[..., None]:
    @wraps(save)
    def whole(obj: object, f: Any, *args: Any, **kwargs: Any) -> None:
        if not isinstance(f, str | os.PathLike):
            return save(obj, f, *args, **kwargs)
        save_states(obj, Path(f), save, *args, **kwargs)

    return whole


def _whole_dump(dump: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(dump)
    def whole(data: Any, stream: Any = None, **kwargs: Any) -> Any:
        name = getattr(stream, "name", None)
        if not isinstance(name, str | os.PathLike):
            return dump(data, stream, **kwargs)
        # The caller has emptied the file, and an empty one is refused: no half one is ever there.
        with atomic_path(name) as temporary, open(temporary, "w", encoding="utf-8") as handle:
            dump(data, handle, **kwargs)
        return None

    return whole


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return what ESPnet's trainer saved after an epoch; no code in the file is run.

    Raises:
        FeatnormError: it is not whole, or no such file.
    """
    import numpy as np

    # ESPnet keeps its figures as numpy numbers and time spans, and no more is allowed in.
    numbers = [np.dtype, np.dtypes.Float64DType, np.dtypes.Float32DType, np.dtypes.Int64DType]
    allowed: list[Any] = [timedelta, np.float64(0).__reduce__()[0], *numbers]
    try:
        with torch.serialization.safe_globals(allowed):
            states = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        if not {"model", "reporter", "optimizers", "schedulers"} <= states.keys():
            raise ValueError("it lacks the model, the optimizer or the record of the epochs")
    except Exception as error:  # torch raises its own, pickle's and zip's errors here
        told = " ".join(str(error).split())[:200]
        raise FeatnormError(
            f"{path} is no whole checkpoint ({told}): remove it to train from the start"
        ) from error
    return states


def epochs_to_do(options: Any, mend: bool = True) -> int:
    """Return how many epochs a run has in all, after mending what a kill has left undone.

    ESPnet saves the checkpoint first, then the epoch's weights, then it moves the links
    ``latest.pth`` and ``<phase>.<key>.best.pth`` and removes the epochs that are not among the
    best. A kill in between would leave this undone for good, since that epoch is not trained
    again. And it looks whether to stop early only after an
    epoch, so a run killed right then would train one more.

    Args:
        options: ESPnet's ``TrainerOptions``.
        mend: whether this process writes the files; else it only counts.

    Raises:
        FeatnormError: the checkpoint is not whole.
    """
    from espnet2.train.reporter import Reporter

    folder, epochs = Path(options.output_dir), int(options.max_epoch)
    if mend:
        remove_temporary(folder)
    if not (folder / CHECKPOINT).is_file():
        return epochs
    states = read_checkpoint(folder / CHECKPOINT)
    reporter = Reporter()
    reporter.load_state_dict(states["reporter"])
    if mend:
        _mend(folder, reporter, states["model"], options)
    if options.patience is not None and reporter.check_early_stopping(
        options.patience, *options.early_stopping_criterion
    ):
        return min(epochs, reporter.get_epoch())
    return epochs


def _mend(folder: Path, reporter: Any, weights: Any, options: Any) -> None:
    epoch = reporter.get_epoch()
    last = folder / f"{epoch}epoch.pth"
    if not last.is_file():
        save_states(weights, last)
    _link(folder / "latest.pth", last.name)
    most = options.keep_nbest_models
    most = most if isinstance(most, int) else max(most, default=1)
    kept = {epoch}
    for phase, key, mode in options.best_model_criterion:
        if reporter.has(phase, key):
            ranked = reporter.sort_epochs(phase, key, mode)
            _link(folder / f"{phase}.{key}.best.pth", f"{ranked[0]}epoch.pth")
            kept |= set(ranked[:most])
    for old in set(range(1, epoch)) - kept:
        (folder / f"{old}epoch.pth").unlink(missing_ok=True)


def _link(path: Path, target: str) -> None:
    """Make ``path`` a link to ``target``, with no moment at which there is none."""
    if path.is_symlink() and os.readlink(path) == target:
        return
    fresh = path.with_name(f".{os.getpid()}.{path.name}")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target)
    fresh.replace(path)
