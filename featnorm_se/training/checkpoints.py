"""``checkpoint.pth``: read without running anything in it, and never cut for good by a kill."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

from featnorm_se.errors import FeatnormError

CHECKPOINT = "checkpoint.pth"
_LAST = ".checkpoint.last.pth"


def begin_saving(folder: Path) -> None:
    """Put the last epoch's checkpoint aside while ESPnet saves the next.

    ESPnet writes ``checkpoint.pth`` over the last one, then the epoch's weights, then it moves
    links and removes old weights. Until ``end_saving`` the last checkpoint is kept (an empty file:
    there was none), and a run that was killed in between does the epoch again from there. So
    what a kill left half done needs no mending: it is all done once more.
    """
    try:
        os.replace(folder / CHECKPOINT, folder / _LAST)
    except FileNotFoundError:
        (folder / _LAST).touch()


def end_saving(folder: Path) -> None:
    """Remove the last epoch's checkpoint: all of the new one is there."""
    (folder / _LAST).unlink(missing_ok=True)


def undo_cut_saving(folder: Path) -> None:
    """Go back to the last epoch's checkpoint where a run was killed while it saved the next."""
    last = folder / _LAST
    if not last.is_file():
        return
    if last.stat().st_size:
        os.replace(last, folder / CHECKPOINT)
    else:
        (folder / CHECKPOINT).unlink(missing_ok=True)
        last.unlink()


def read_checkpoint(path: Path, mmap: bool = False) -> dict[str, Any]:
    """Return what ESPnet's trainer saved after an epoch; no code in the file is run.

    Args:
        path: the file.
        mmap: leave the tensors in the file, for a reader of the figures alone.

    Raises:
        FeatnormError: it is not whole, or no such file.
    """
    import numpy as np
    import torch

    # ESPnet keeps its figures as numpy numbers and time spans, and no more is allowed in.
    numbers = [np.dtype, np.dtypes.Float64DType, np.dtypes.Float32DType, np.dtypes.Int64DType]
    allowed: list[Any] = [timedelta, np.float64(0).__reduce__()[0], *numbers]
    try:
        with torch.serialization.safe_globals(allowed):
            states = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
        if not {"model", "reporter", "optimizers", "schedulers"} <= states.keys():
            raise ValueError("it lacks the model, the optimizer or the record of the epochs")
    except Exception as error:  # torch raises its own, pickle's and zip's errors here
        reason = " ".join(str(error).split())[:200]
        raise FeatnormError(
            f"{path} is no whole checkpoint ({reason}): remove it to train from the start"
        ) from error
    return states
