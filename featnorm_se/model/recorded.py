"""A training step on a GPU that is recorded once and played back: no kernel is launched by itself.

Four fifths of a small step's time would else be the CPU's, which launches thousands of
kernels. A CUDA graph launches them all at once; it does the same with the same memory each time,
so it is for steps of one shape.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from featnorm_se.errors import FeatnormError

Function = Callable[[Tensor], Tensor]
UNRECORDED = "a training step cannot be recorded: it reads a value from the GPU or copies one there"


class Recorder:
    """Plays a function of one tensor, forward and backward, once its shape came twice in a row.

    The steps before the recording are real ones: in them cuDNN and its like make themselves
    ready. Training has to run on a stream of its own, as ``FeatNormTrainer.run`` does, since what
    waits for torch's default stream cannot be recorded.
    """

    def __init__(self, of_first: float | None = None) -> None:
        """Make a recorder that has nothing recorded yet.

        Args:
            of_first: the gradient of the function's first value, where those of all others are 0.
                With it the backward pass runs right behind the forward pass, and the values are
                handed out on the CPU, while it runs. ``None``: the backward pass waits for
                autograd's gradient, and the values stay on the GPU.
        """
        self.of_first = of_first
        self.last: torch.Size | None = None
        self.recording: Recording | None = None

    def __call__(self, compute: Function, x: Tensor, module: nn.Module) -> Tensor:
        """Return ``compute(x)``, from the recording where there is one of this shape.

        Args:
            compute: what to record; of one shape it does the same whatever x holds.
            x: its argument, which gets no gradient.
            module: whose parameters get one.

        Raises:
            FeatnormError: what it computes reads a value or copies to the GPU.
        """
        again, self.last = x.shape == self.last, x.shape
        if self.recording is None and again:
            trained = [p for p in module.parameters() if p.requires_grad]
            try:
                self.recording = Recording(compute, x, trained, self.of_first)
            except RuntimeError as error:
                if "captur" not in str(error):
                    raise
                cause = error.__context__ or error  # the capture's own error covers it
                if isinstance(cause, torch.OutOfMemoryError) or not isinstance(cause, Exception):
                    raise cause from None
                reason = str(cause).partition("\n")[0]
                mend = "see doc/extend.md, or set separator_conf.fast=false"
                raise FeatnormError(f"{UNRECORDED} ({reason}): {mend}") from error
        if self.recording is None or self.recording.x.shape != x.shape:
            return compute(x)
        played: Tensor = _Played.apply(self.recording, x, self.recording.trained)
        return played


class Recording:
    """A forward pass and its backward pass, as CUDA graphs that share their memory."""

    def __init__(
        self, compute: Function, x: Tensor, parameters: Sequence[Tensor], of_first: float | None
    ) -> None:
        self.x, self.parameters, self.of_first = x.clone(), parameters, of_first
        self.forward, self.backward = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        # Other threads, such as the one that brings batches to the GPU, go on meanwhile.
        how: Any = {"stream": torch.cuda.current_stream(), "capture_error_mode": "thread_local"}
        with torch.cuda.graph(self.forward, **how):
            y = compute(self.x)
        self.of_y = torch.zeros_like(y)
        if of_first is not None:
            self.of_y[0] = of_first
        with torch.cuda.graph(self.backward, pool=self.forward.pool(), **how):
            found = torch.autograd.grad(y, parameters, self.of_y, allow_unused=True)
            # As autograd leaves them: each in a place of its own, in the parameter's layout.
            places = [None if g is None else g.data_ptr() for g in found]
            self.gradients = [
                torch.empty_like(p).copy_(g)
                if g is not None and (g.stride() != p.stride() or g.data_ptr() in places[:n])
                else g
                for n, (p, g) in enumerate(zip(parameters, found, strict=True))
            ]
        self.y = y.detach()
        self.trained = torch.zeros((), requires_grad=True)  # stands for all parameters in autograd


class _Played(torch.autograd.Function):
    """The recording; what is left of its last gradients is moved out of its memory.

    It hands the parameters their gradients itself: through autograd, one by one, that takes
    the CPU several milliseconds a step.
    """

    @staticmethod
    def forward(ctx: Any, recording: Recording, x: Tensor, trained: Tensor) -> Tensor:
        ctx.recording = recording
        for parameter in recording.parameters:
            if parameter.grad is not None:  # gradients are added up over several steps
                parameter.grad = parameter.grad.clone()
        recording.x.copy_(x)
        recording.forward.replay()
        if recording.of_first is None:
            return recording.y.clone()
        y = recording.y.to("cpu", non_blocking=True)
        arrived = torch.cuda.Event()
        arrived.record()
        recording.backward.replay()
        arrived.synchronize()
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, of_y: Tensor) -> tuple[None, None, None]:  # type: ignore[override]
        recording = ctx.recording
        if recording.of_first is None:
            recording.of_y.copy_(of_y)
            recording.backward.replay()
        elif not math.isclose(float(of_y[0]), recording.of_first, rel_tol=1e-5):
            raise RuntimeError(f"the loss was scaled by {of_y[0]}, not by {recording.of_first}")
        for parameter, gradient in zip(recording.parameters, recording.gradients, strict=True):
            if parameter.grad is None:
                parameter.grad = gradient
            elif gradient is not None:
                parameter.grad += gradient
        return None, None, None
