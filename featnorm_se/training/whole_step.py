"""A training step from the samples to the loss as one function, which a GPU can record."""

from itertools import permutations
from typing import Any

import torch
from espnet2.enh.loss.wrappers.fixed_order import FixedOrderSolver
from espnet2.enh.loss.wrappers.pit_solver import PITSolver
from torch import Tensor, nn

from featnorm_se.model.loss import OnSpectra
from featnorm_se.model.recorded import Recorder
from featnorm_se.model.separator import invert_stft

Step = tuple[Tensor, dict[str, Tensor], Tensor]


class WholeStep(nn.Module):
    """ESPnet's enhancement model, as ESPnet's trainer calls it, for an epoch on one GPU.

    On the way from samples to the loss ESPnet waits for the GPU several times, which cannot be
    recorded. Whole pieces with our own losses go another way here, that comes to the same. Other
    batches go ESPnet's and are not recorded.

    Args:
        model: the model, with one STFT in all its parts (``check_one_stft``).
        accum_grad: ESPnet's; the trainer divides the loss by it.

    Attributes:
        has_way: whether all that the model is trained with can go this way.
    """

    def __init__(self, model: Any, accum_grad: int = 1) -> None:
        super().__init__()
        self.model, self.recorder = model, Recorder(1 / accum_grad)
        self.trained = [w for w in model.loss_wrappers if not w.criterion.only_for_test]
        plain = not (model.flexible_numspk or model.categories)
        trains = any(wrapper.weight for wrapper in self.trained)
        self.has_way = plain and trains and all(map(_can_part, self.trained))

    def forward(self, utt_id: list[str] | None = None, **batch: Tensor) -> Step:
        """Return ESPnet's loss (1,), what it reports and the weight of both."""
        model, mix = self.model, batch["speech_mix"]
        names = ["speech_mix", *(f"speech_ref{n + 1}" for n in range(model.num_spk))]
        whole = {*names} == {*batch} and len({x.shape for x in batch.values()}) == 1
        frames = mix.shape[1] // model.separator.stft[1] + 1
        if not (whole and model.separator.repeats(frames, mix.device)):
            found: Step = model(utt_id=utt_id, **batch)
            return found
        signals = torch.stack([batch[name] for name in names])
        values = self.recorder(self.losses, signals, model).cpu()
        reported = ["loss", *(wrapper.criterion.name for wrapper in self.trained)]
        stats = {name: values.detach()[n : n + 1] for n, name in enumerate(reported)}
        return values[:1], stats, torch.tensor([len(mix)])

    def losses(self, signals: Tensor) -> Tensor:
        """Return the loss and each criterion's part, (1 + criterions,).

        Args:
            signals: the mixture and what is wanted of each talker, (1 + talkers, B, N).
        """
        model, samples = self.model, torch.full(signals.shape[1:2], signals.shape[2])
        spectrum, *clean = (model.encoder(signal, None)[0] for signal in signals)
        frames = torch.full_like(samples, spectrum.shape[1])
        estimates, _, _ = model.separator(spectrum, frames)
        # Back to samples first, as ESPnet: not every spectrum is that of a signal.
        n_fft, hop, window = model.separator.stft
        waves = [invert_stft(x, frames, n_fft, hop, window, samples)[0] for x in estimates]
        found = [model.encoder(wave, None)[0] for wave in waves]
        parts = torch.stack([_part(wrapper, clean, found) for wrapper in self.trained])
        pairs = zip(self.trained, parts, strict=True)
        loss = sum(wrapper.weight * part for wrapper, part in pairs if wrapper.weight)
        return torch.cat([loss[None], parts.detach()])


def _can_part(wrapper: Any) -> bool:
    """Whether ``_part`` is what a wrapper of ESPnet's does."""
    order = type(wrapper) is FixedOrderSolver or (
        type(wrapper) is PITSolver and wrapper.independent_perm and not wrapper.flexible_numspk
    )
    one = wrapper.criterion
    return order and isinstance(one, OnSpectra) and not (one.is_noise_loss or one.is_dereverb_loss)


def _part(wrapper: Any, clean: list[Tensor], found: list[Tensor]) -> Tensor:
    """Return a criterion's mean over the talkers, in the order that is best for each utterance."""
    orders = [tuple(range(len(clean)))]
    if isinstance(wrapper, PITSolver):
        orders = list(permutations(orders[0]))
    losses = [
        sum(wrapper.criterion(ref, found[n]) for ref, n in zip(clean, order, strict=True))
        for order in orders
    ]
    return torch.stack(losses).min(dim=0)[0].mean() / len(clean)
