"""Use a trained model: waveforms in, enhanced waveforms out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray

from featnorm_se.enhancement.separator import FeatNormSeparator
from featnorm_se.errors import FeatnormError
from featnorm_se.names import SAMPLE_RATE

MODEL_FILES = ("valid.loss.best.pth", "valid.loss.ave.pth")


class Enhancer:
    """A trained model.

    Args:
        config: what ESPnet wrote as ``config.yaml``.
        weights: the state of ESPnet's model.
        device: where to compute, ``cpu`` or ``cuda``.

    Raises:
        FeatnormError: the configuration is none of this project's, or the weights are not
            those of the model it describes; nothing is loaded in part.
    """

    def __init__(
        self, config: dict[str, Any], weights: dict[str, torch.Tensor], device: str = "cpu"
    ) -> None:
        from espnet2.enh.decoder.stft_decoder import STFTDecoder
        from espnet2.enh.encoder.stft_encoder import STFTEncoder

        if config.get("separator") != "featnorm":
            raise FeatnormError(
                f"the model's separator is {config.get('separator')!r}, 'featnorm' is wanted"
            )
        self.device = torch.device(device)
        self.encoder = STFTEncoder(**config["encoder_conf"])
        self.decoder = STFTDecoder(**config["decoder_conf"])
        self.separator = FeatNormSeparator(self.encoder.output_dim, **config["separator_conf"])
        prefix = "separator."
        state = {k[len(prefix) :]: v for k, v in weights.items() if k.startswith(prefix)}
        if len(state) != len(weights):
            odd = sorted(key for key in weights if not key.startswith(prefix))
            raise FeatnormError(f"weights of unknown parts: {', '.join(odd[:5])}")
        try:
            self.separator.load_state_dict(state, strict=True)
        except RuntimeError as error:
            told = " ".join(str(error).split())
            raise FeatnormError(f"the weights do not fit the configuration: {told}") from error
        for part in (self.encoder, self.separator, self.decoder):
            part.to(self.device).eval()

    @classmethod
    def from_pretrained(
        cls, source: str | os.PathLike[str], device: str = "cpu", model_file: str | None = None
    ) -> Enhancer:
        """Load an experiment's folder.

        Args:
            source: the folder, with ``config.yaml`` and the weights.
            device: where to compute.
            model_file: the weights' file in it; ``None``: the best on validation.

        Raises:
            FeatnormError: a file is missing, broken, or would run code when loaded.
        """
        folder = Path(source)
        path = folder / "config.yaml"
        if not path.is_file():
            raise FeatnormError(f"{folder} holds no config.yaml: train first (stage 3)")
        try:
            config = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise FeatnormError(f"{path} is no YAML: {' '.join(str(error).split())}") from error
        names = [model_file] if model_file else list(MODEL_FILES)
        found = [folder / name for name in names if (folder / name).is_file()]
        if not found:
            raise FeatnormError(f"{folder} holds no {' or '.join(names)}: train first (stage 3)")
        try:
            weights = torch.load(found[0], map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises its own, pickle's and zip's errors here
            told = " ".join(str(error).split())[:200]
            raise FeatnormError(f"{found[0]} is no whole file of weights: {told}") from error
        return cls(config, weights, device)

    @torch.inference_mode()
    def enhance(self, wav: torch.Tensor) -> torch.Tensor:
        """Enhance 16 kHz waveforms of one length, (B, N) float32 in and out."""
        wav = wav.to(self.device)
        lengths = torch.full((wav.shape[0],), wav.shape[1], device=self.device)
        spectrum, frames = self.encoder(wav, lengths)
        enhanced, _, _ = self.separator(spectrum, frames)
        return self.decoder(enhanced[0], lengths)[0].cpu()

    def __call__(self, x: NDArray[Any], sample_rate: int = SAMPLE_RATE) -> NDArray[np.float32]:
        """Enhance a signal of any rate.

        Args:
            x: (N,) or (N, channels), in [-1, 1]; each channel is enhanced by itself.
            sample_rate: of x, in Hz; other rates than 16 kHz are resampled there and back.

        Returns:
            The enhanced signal, float32, x's shape and rate.

        Raises:
            FeatnormError: x is empty, has another number of axes, or holds NaN.
        """
        from torchaudio.functional import resample

        signal = np.asarray(x, dtype=np.float32)
        if signal.ndim not in (1, 2) or not signal.size:
            raise FeatnormError(f"a signal (N,) or (N, channels) is wanted, not {signal.shape}")
        if not np.isfinite(signal).all():
            raise FeatnormError("the signal holds NaN or infinite samples")
        channels = torch.from_numpy(np.atleast_2d(signal.T).copy())
        if sample_rate != SAMPLE_RATE:
            channels = resample(channels, sample_rate, SAMPLE_RATE)
        # The STFT reflects half a window at both ends, so it needs that much to reflect.
        short = self.encoder.n_fft - channels.shape[1]
        padded = torch.nn.functional.pad(channels, (0, max(short, 0)))
        y = torch.cat([self.enhance(channel[None]) for channel in padded])
        y = y[:, : channels.shape[1]]
        if sample_rate != SAMPLE_RATE:
            y = resample(y, SAMPLE_RATE, sample_rate)
        y = torch.nn.functional.pad(y, (0, max(0, len(signal) - y.shape[1])))[:, : len(signal)]
        return y.numpy().T.reshape(signal.shape)
