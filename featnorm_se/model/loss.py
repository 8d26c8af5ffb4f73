"""The training loss and the figures of validation, as ESPnet criterions."""

import math

import numpy as np
import torch
from espnet2.enh.loss.criterions.tf_domain import FrequencyDomainLoss
from espnet2.enh.loss.criterions.time_domain import SISNRLoss, TimeDomainLoss
from torch import Tensor

from featnorm_se.names import SAMPLE_RATE


class OnSpectra(FrequencyDomainLoss):
    """What compares spectra, not masks: the clean one, and the enhanced waveform's."""

    compute_on_mask = False
    mask_type = None


class LogMagnitudeL1(OnSpectra):
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

    def forward(self, ref: Tensor, inf: Tensor) -> Tensor:
        """Return the loss of each utterance, (B,); ``ref`` and ``inf`` are complex (B, T, F)."""
        # sqrt(x + eps) instead of abs(): the gradient of abs() at 0 + 0j is not a number's.
        clean = (ref.real.square() + ref.imag.square() + 1e-12).sqrt()
        enhanced = (inf.real.square() + inf.imag.square() + 1e-12).sqrt()
        difference = torch.log1p(self.scale * enhanced) - torch.log1p(self.scale * clean)
        return difference.abs().mean(dim=(1, 2)) / math.log1p(self.scale)


class CompressedSpectrum(OnSpectra):
    """Squared distance of power-law compressed spectra, of magnitudes and with the phases.

    ``(1 - w) (|X|^p - |S|^p)^2 + w | |X|^p e^jx - |S|^p e^js |^2 + a max(0, |S|^p - |X|^p)^2``
    in the mean over time and frequency, where x and s are the phases, and the square of each
    magnitude is 1e-8 more than it is. The first two terms are
    those of Ephrat et al., "Looking to Listen at the Cocktail Party", 2018, and Braun and Tashev,
    "A consolidated view of loss functions for supervised deep learning-based speech enhancement",
    2021 (arXiv 2009.12286); the third, which counts speech that was taken away once more, is of
    Wang et al., "VoiceFilter-Lite", 2020.

    Args:
        name: its name in logs.
        power: p.
        complex_weight: w.
        asymmetry: a.
        conf: what all of ESPnet's criterions take, such as ``only_for_test``.
    """

    def __init__(
        self,
        name: str | None = None,
        power: float = 0.3,
        complex_weight: float = 0.3,
        asymmetry: float = 0.0,
        **conf: bool,
    ) -> None:
        super().__init__(name or "compressed_spectrum", **conf)
        self.power, self.complex_weight, self.asymmetry = power, complex_weight, asymmetry

    def forward(self, ref: Tensor, inf: Tensor) -> Tensor:
        """Return the loss of each utterance, (B,); ``ref`` and ``inf`` are complex (B, T, F)."""
        # Without the constant, the gradient where there is no sound would be infinite.
        clean = ref.real.square() + ref.imag.square() + 1e-8
        enhanced = inf.real.square() + inf.imag.square() + 1e-8
        # What compresses a bin and leaves its phase.
        shrink, shrink_clean = (x ** ((self.power - 1) / 2) for x in (enhanced, clean))
        difference = shrink * enhanced.sqrt() - shrink_clean * clean.sqrt()
        loss = (1 - self.complex_weight) * difference.square()
        if self.complex_weight:
            real = shrink * inf.real - shrink_clean * ref.real
            imag = shrink * inf.imag - shrink_clean * ref.imag
            loss = loss + self.complex_weight * (real.square() + imag.square())
        if self.asymmetry:
            loss = loss + self.asymmetry * difference.clamp(max=0).square()
        return loss.mean(dim=(1, 2))


class ValidSiSnr(SISNRLoss):
    """SI-SNR in dB, a figure that validation reports as ``si_snr``; higher is better."""

    def __init__(self) -> None:
        super().__init__(name="si_snr", only_for_test=True)

    def forward(self, ref: Tensor, est: Tensor) -> Tensor:
        """Return the SI-SNR of each utterance, (B,); ``ref`` and ``est`` are (B, N)."""
        return -super().forward(ref, est)


class ValidPesq(TimeDomainLoss):
    """PESQ_WB, a figure that validation reports as ``pesq_wb``; higher is better.

    It is that of the first 20 s: PESQ's code crashes on more than 50 stretches of speech, which
    20 s cannot hold. An utterance in which it finds no speech counts as 1, the worst.
    """

    def __init__(self) -> None:
        super().__init__("pesq_wb", only_for_test=True)

    def forward(self, ref: Tensor, est: Tensor) -> Tensor:
        """Return the PESQ_WB of each utterance, (B,).

        ``ref`` and ``est`` are (B, N) at 16 kHz; where the clean speech ends with zeros, as in a
        padded batch, it ends before them.
        """
        from pesq import PesqError, pesq

        signals = (x[:, : 20 * SAMPLE_RATE].float().cpu().numpy() for x in (ref, est))
        found = []
        for clean, enhanced in zip(*signals, strict=True):
            size = max(len(np.trim_zeros(clean, "b")), 1)
            pair, errors = (clean[:size], enhanced[:size]), PesqError.RETURN_VALUES
            score = pesq(SAMPLE_RATE, *pair, "wb", on_error=errors)
            found.append(score if score > 1.0 else 1.0)  # NaN, if all that came out is zeros
        return ref.new_tensor(found)


# The names that `criterions` of a training configuration takes besides ESPnet's own.
CRITERIONS = {
    "compressed_spectrum": CompressedSpectrum,
    "log1p_l1": LogMagnitudeL1,
    "valid_pesq_wb": ValidPesq,
    "valid_si_snr": ValidSiSnr,
}
