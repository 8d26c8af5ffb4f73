"""One transformer layer in training: layer drop and gradient checkpointing, for all families."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


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
    upstream: LayerRunner, layer: nn.Module, x: Tensor, mask: Any, bias: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """Run ``layer`` on x (B, T, D), or leave it out with the upstream's ``layer_drop``.

    A layer that is left out stays in the graph with zero gradients: a parameter without any
    would stop distributed training.
    """
    training = upstream.model.training
    may_drop = training and upstream.layer_drop > 0.0 and upstream.droppable(layer)
    if may_drop and float(torch.rand(())) < upstream.layer_drop:
        for parameter in layer.parameters():
            if parameter.requires_grad:
                x = x + 0.0 * parameter.flatten()[0]
        return x, bias
    if training and upstream.gradient_checkpointing and torch.is_grad_enabled():
        out: tuple[Tensor, Tensor | None] = checkpoint(
            upstream.run_layer, layer, x, mask, bias, use_reentrant=False
        )
        return out
    return upstream.run_layer(layer, x, mask, bias)
