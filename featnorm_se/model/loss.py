"""The training loss and a figure of validation, as ESPnet criterions."""

from __future__ import annotations

import torch
from espnet2.enh.loss.criterions.tf_domain import FrequencyDomainLoss
from espnet2.enh.loss.criterions.time_domain import SISNRLoss
from torch import Tensor


class LogMagnitudeL1(FrequencyDomainLoss):
    """L1 distance of log-compressed magnitudes, ``mean |log1p(a|X|) - log1p(a|S|)| / log1p(a)``.

    With a = 1 this is the loss of BSSE-SE (Hung et al., "Boosting Self-Supervised Embeddings
    for Speech Enhancement", Interspeech 2022). A larger a weighs quiet bins more. The
    denominator keeps the loss on one scale.

    Args:
        name: its name in logs.
        scale: a, what magnitudes are multiplied by before the compression.
        conf: what all of ESPnet's criterions take, such as ``only_for_test``.
    """

    def __init__(self, name: str | None = None, scale: float = 1.0, **conf: bool) -> None:
        super().__init__(name or "log1p_l1", **conf)
        self.scale = scale

    @property
    def compute_on_mask(self) -> bool:
        return False

    @property
    def mask_type(self) -> str | None:
        return None

    def forward(self, ref: Tensor, inf: Tensor) -> Tensor:
        """Return the loss of each utterance, (B,).

        Args:
            ref: complex spectrum of the clean speech (B, T, F).
            inf: complex spectrum of the enhanced speech (B, T, F).
        """
        # sqrt(x + eps) instead of abs(): the gradient of abs() at 0 + 0j is not a number's.
        clean = (ref.real.square() + ref.imag.square() + 1e-12).sqrt()
        enhanced = (inf.real.square() + inf.imag.square() + 1e-12).sqrt()
        difference = torch.log1p(self.scale * enhanced) - torch.log1p(self.scale * clean)
        scale = torch.log1p(torch.tensor(float(self.scale)))
        return difference.abs().mean(dim=(1, 2)) / scale.to(difference)


class ValidSiSnr(SISNRLoss):
    """SI-SNR in dB, a figure that validation reports as ``si_snr``; higher is better."""

    def __init__(self) -> None:
        super().__init__(name="si_snr", only_for_test=True)

    def forward(self, ref: Tensor, est: Tensor) -> Tensor:
        """Return the SI-SNR of each utterance, (B,); ``ref`` and ``est`` are (B, N)."""
        return -super().forward(ref, est)


# The names that `criterions` of a training configuration takes besides ESPnet's own.
CRITERIONS = {"log1p_l1": LogMagnitudeL1, "valid_si_snr": ValidSiSnr}
