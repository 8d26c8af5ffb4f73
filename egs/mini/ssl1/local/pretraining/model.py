"""Masked reconstruction (Mockingjay, TERA) on s3prl's own transformer, head and masks."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from featnorm_se.upstream.mockingjay import MelUpstream, sinusoids


@contextmanager
def seeded(*words: int) -> Iterator[None]:
    """Draw from a state that these numbers alone decide; put the caller's back afterwards.

    A step seeded by its own number needs no random state in a checkpoint to be done again. A GPU
    that this process has begun to use draws from the same seed.
    """
    seed = int(np.random.SeedSequence(words).generate_state(1)[0])
    kept = random.getstate()
    gpus = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=gpus):
        torch.default_generator.manual_seed(seed)
        if gpus:
            torch.cuda.manual_seed(seed)
        random.seed(seed)
        try:
            yield
        finally:
            random.setstate(kept)


def fuse(network: nn.Module) -> None:
    """Have s3prl's GELU and layer norm computed in one kernel each: a quarter of a step's time.

    Names and number of the weights stay s3prl's.
    """
    from s3prl.upstream.mockingjay import model as s3prl_model

    for module in list(network.modules()):
        for name in ("intermediate_act_fn", "transform_act_fn"):
            if getattr(module, name, None) is s3prl_model.gelu:
                setattr(module, name, functional.gelu)
        for name, child in module.named_children():
            if isinstance(child, s3prl_model.TransformerLayerNorm):
                norm = nn.LayerNorm(child.weight.shape, eps=child.variance_epsilon)
                norm.weight, norm.bias = child.weight, child.bias
                setattr(module, name, norm)


class MaskedReconstruction(nn.Module):
    """An upstream's transformer with s3prl's prediction head, told to fill in what is masked.

    The features are seen as ``(x - mean) / deviation``, so that masking to zero and s3prl's noise
    of deviation 0.2 mean the same for every channel. ``folded`` has that map inside its weights.

    Args:
        upstream: gives transformer and configuration.
        objective: s3prl's ``task`` configuration, the keys of ``plan.OBJECTIVE``.
        mean, deviation: of the features, shape (D,).
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self, upstream: MelUpstream, objective: dict[str, Any], mean: Tensor, deviation: Tensor
    ) -> None:
        super().__init__()
        from s3prl.upstream.mockingjay.model import TransformerSpecPredictionHead

        self.transformer = upstream.model
        self.width = upstream.width
        self.objective = objective
        self.head = TransformerSpecPredictionHead(upstream.model.config, upstream.mel.width)
        self.head.apply(upstream.model.init_Transformer_weights)
        fuse(self)
        self.register_buffer("mean", mean.double())
        self.register_buffer("deviation", deviation.double())

    def mask(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Mask a batch on the CPU, from the random state as it is.

        Args:
            features: utterances (T, D), as the upstream's log-mels are.

        Returns:
            Masked input, positions, what is to be filled in (bool), valid frames, and target, as
            s3prl's ``generate_masked_acoustic_model_data`` returns them. Rows without any mask
            are left out.
        """
        from s3prl.pretrain.mockingjay import task

        mean, deviation = self.mean.cpu(), self.deviation.cpu()
        rows = [((row - mean) / deviation).float() for row in features]
        batch = pad_sequence(rows, batch_first=True)
        masked, _, chosen, valid, target = task.generate_masked_acoustic_model_data(
            # Its table of positions is slow to fill and the same as ours: one column of it will do.
            (batch,),
            self.objective | {"position_encoding_size": 1},
        )
        return masked, sinusoids(batch.size(1), self.width), chosen, valid, target

    def forward(
        self, masked: Tensor, positions: Tensor, chosen: Tensor, valid: Tensor, target: Tensor
    ) -> Tensor:
        """Return the mean loss over what was masked."""
        states = self.transformer(
            masked,
            positions.expand(masked.size(0), -1, -1),
            valid,
            output_all_encoded_layers=False,
        )
        filled, _ = self.head(states)
        distance = {"L1": nn.L1Loss(), "MSE": nn.MSELoss()}[self.objective["loss"]]
        loss: Tensor = distance(filled.float()[chosen], target[chosen])
        return loss

    @torch.no_grad()
    def folded(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return the weights of transformer and head for the features as they are.

        The first layer W x' + b with x' = (x - mean) / deviation is the layer
        (W / deviation) x + (b - (W / deviation) mean); the head's last one is turned back alike.
        """
        body, head = (
            {name: value.detach().cpu().clone() for name, value in part.state_dict().items()}
            for part in (self.transformer, self.head)
        )
        mean, deviation = self.mean.cpu(), self.deviation.cpu()
        first = "input_representations.spec_transform"
        weight = body[f"{first}.weight"].double() / deviation
        bias = body[f"{first}.bias"].double() - weight @ mean
        body |= {f"{first}.weight": weight.float(), f"{first}.bias": bias.float()}
        weight = head["output.weight"].double() * deviation[:, None]
        bias = head["output.bias"].double() * deviation + mean
        head |= {"output.weight": weight.float(), "output.bias": bias.float()}
        return body, head
