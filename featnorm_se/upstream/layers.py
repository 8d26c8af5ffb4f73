"""What training does with a part of a model: layer drop and gradient checkpointing."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import get_device_states, set_device_states


class LayerRunner(Protocol):
    """What ``call_layer`` needs to know of an upstream."""

    layer_drop: float
    gradient_checkpointing: bool
    model: Any

    def run_layer(
        self, layer: nn.Module, x: Tensor, mask: Any, bias: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Run one layer on x (B, T, D)."""
        ...

    def droppable(self, layer: nn.Module) -> bool:
        """Whether layer drop may leave this layer out."""
        ...


def call_layer(
    upstream: LayerRunner,
    layer: nn.Module,
    x: Tensor,
    mask: Any,
    bias: Tensor | None,
    *,
    last: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Run ``layer`` on x (B, T, D), or leave it out with the upstream's ``layer_drop``.

    A layer that is left out stays in the graph with zero gradients: a parameter without any
    would stop distributed training. The last layer's gradients are computed first, before those
    of others take memory, so checkpointing it would cost time and save none.
    """
    training = upstream.model.training
    may_drop = training and upstream.layer_drop > 0.0 and upstream.droppable(layer)
    if may_drop and float(torch.rand(())) < upstream.layer_drop:
        for parameter in layer.parameters():
            if parameter.requires_grad:
                x = x + 0.0 * parameter.flatten()[0]
        return x, bias
    checkpointing = training and upstream.gradient_checkpointing and not last
    if not (checkpointing and torch.is_grad_enabled()):
        return upstream.run_layer(layer, x, mask, bias)
    if bias is None:
        first = partial(_run, upstream, layer, mask)
        out, bias = recomputed(first, [x], layer.parameters())
        return out, bias

    def run(x: Tensor, bias: Tensor) -> Tensor:
        return upstream.run_layer(layer, x, mask, bias)[0]

    return recomputed(run, [x, bias], layer.parameters()), bias


def _run(
    upstream: LayerRunner, layer: nn.Module, mask: Any, x: Tensor
) -> tuple[Tensor, Tensor | None]:
    return upstream.run_layer(layer, x, mask, None)


def recomputed(
    run: Callable[..., Any],
    inputs: Sequence[Tensor],
    parameters: Iterable[nn.Parameter],
    trim: bool = False,
) -> Any:
    """Return ``run(*inputs)``, of which only the inputs are kept: the gradients run it again.

    As ``torch.utils.checkpoint`` does, and with the same random numbers, but without the 70 MiB
    of torch's compiler that it imports, and with no weight cast for autocast that outlives its
    use. Gradients of gradients are not to be had.

    Args:
        run: returns a tensor or a tuple of tensors and ``None``.
        inputs: the tensors that it depends on, its parameters apart.
        parameters: all that it may use.
        trim: give freed memory back to the system before the gradients run it again, which pays
            where it is the peak and costs the pages' zeroing everywhere.
    """
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    return _Recomputed.apply(run, trim, len(inputs), *inputs, *trained)


def give_memory_back() -> None:
    """Let the system have the pages that the C library keeps of freed memory, where it can.

    Tensors of all sizes come and go in a backward pass with gradients left between them, and
    glibc gives nothing back from below the top of its heap: 250 MiB in WavLM Base's.
    """
    trim = _trim()
    if trim is not None:
        trim(0)


@cache
def _trim() -> Callable[[int], int] | None:
    """Return glibc's ``malloc_trim``; ``None``: this is another C library."""
    try:
        found: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
    except (OSError, TypeError):  # TypeError: Windows has no such handle
        return None
    return found


class _Recomputed(torch.autograd.Function):
    """``run`` on the first ``count`` tensors; the others are the parameters that it uses."""

    @staticmethod
    def forward(ctx: Any, run: Callable[..., Any], trim: bool, count: int, *tensors: Tensor) -> Any:
        kind = tensors[0].device.type
        ctx.run, ctx.trim, ctx.count = run, trim, count
        enabled, dtype = torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)
        ctx.autocast = partial(torch.autocast, kind, dtype, enabled, cache_enabled=False)
        ctx.random = torch.get_rng_state(), *get_device_states(*tensors[:count])
        ctx.save_for_backward(*tensors)
        with ctx.autocast():
            return run(*tensors[:count])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        tensors, needed = list(ctx.saved_tensors), ctx.needs_input_grad[3:]
        for place in range(ctx.count):
            tensors[place] = tensors[place].detach().requires_grad_(needed[place])
        state, devices, device_states = ctx.random
        if ctx.trim and tensors[0].device.type == "cpu":
            give_memory_back()
        with (
            torch.random.fork_rng(devices),
            torch.enable_grad(),
            ctx.autocast(),
        ):
            torch.set_rng_state(state)
            set_device_states(devices, device_states)
            outputs = ctx.run(*tensors[: ctx.count])
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        pairs = [
            (output, grad)
            for output, grad in zip(outputs, grads, strict=True)
            if grad is not None and output is not None and output.requires_grad
        ]
        del outputs
        wanted = [tensor for tensor, need in zip(tensors, needed, strict=True) if need]
        found = iter(
            torch.autograd.grad(
                [output for output, _ in pairs],
                wanted,
                [grad for _, grad in pairs],
                allow_unused=True,
            )
        )
        return None, None, None, *(next(found) if need else None for need in needed)
