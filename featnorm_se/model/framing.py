"""One time axis: the STFT's frames, the waveform behind them, and the upstream's frames."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class STFTConfig:
    """The one STFT of a model; ``center`` is always true and the window is Hann.

    Attributes:
        n_fft: length of the transform, in samples.
        hop_length: samples between frames.
        win_length: length of the window, in samples.
    """

    n_fft: int = 512
    hop_length: int = 160
    win_length: int = 400

    @property
    def bins(self) -> int:
        """Number of frequencies."""
        return self.n_fft // 2 + 1

    def inverse(self, spectrum: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return the waveforms of a batch of spectra, each as if it stood alone.

        Args:
            spectrum: complex (B, T, F).
            lengths: frames of each utterance (B,).

        Returns:
            Waveforms (B, N), zero beyond their lengths, and lengths in samples (B,): up to
            ``hop_length`` - 1 samples at the very end do not come back, since the frames do
            not tell how many there were.
        """
        window = torch.hann_window(self.win_length, dtype=torch.float32, device=spectrum.device)
        frames = lengths.tolist()
        samples = [(n - 1) * self.hop_length for n in frames]
        wav = spectrum.real.new_zeros((spectrum.shape[0], max(max(samples), 1)))
        for n in sorted(set(frames)):
            if n < 2:
                continue
            rows = [index for index, value in enumerate(frames) if value == n]
            part = torch.istft(
                spectrum[rows, :n].transpose(1, 2),
                n_fft=self.n_fft,
                hop_length=self.hop_length,
                win_length=self.win_length,
                window=window,
                center=True,
            )
            wav[rows, : part.shape[1]] = part
        return wav, torch.tensor(samples, device=spectrum.device).clamp_min(1)


def to_stft_rate(
    features: Tensor, lengths: Tensor, hop: int, offset: int, stft_hop: int, frames: int
) -> Tensor:
    """Interpolate an upstream's frames linearly at the centres of the STFT's frames.

    Frame k of the features is centred at sample ``offset + k * hop``, frame t of the STFT at
    ``t * stft_hop``. Before the first and after the last valid frame the nearest one is held.

    Args:
        features: (B, K, D).
        lengths: valid frames of each utterance (B,).
        hop: samples between the features' frames.
        offset: centre of their frame 0, in samples.
        stft_hop: samples between the STFT's frames.
        frames: number of STFT frames T.

    Returns:
        (B, T, D).
    """
    if hop == stft_hop and offset == 0 and features.shape[1] >= frames:
        return features[:, :frames]
    at = (torch.arange(frames, device=features.device) * stft_hop - offset) / hop
    last = (lengths.to(features.device) - 1).clamp_min(0)[:, None]
    at = torch.minimum(at.clamp_min(0)[None, :], last.to(at.dtype))
    low = at.floor().long()
    high = torch.minimum(low + 1, last)
    weight = (at - low).to(features.dtype)[..., None]
    batch = torch.arange(features.shape[0], device=features.device)[:, None]
    return torch.lerp(features[batch, low], features[batch, high], weight)
