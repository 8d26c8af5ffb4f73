"""Use a trained model: waveforms in, enhanced waveforms out."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence

from featnorm_se.data.audio import check_samples, resample_blocks
from featnorm_se.errors import FeatnormError
from featnorm_se.files import PathLike
from featnorm_se.inference.high_band import to_own_rate
from featnorm_se.inference.long_signal import TURN, Signal, enhance_signal
from featnorm_se.inference.model_file import SHIPPED, read_model
from featnorm_se.inference.windows import Windowing
from featnorm_se.model.separator import FeatNormSeparator
from featnorm_se.names import FEATURE_NORMS, SAMPLE_RATE, check_decoding
from featnorm_se.training.checks import check_one_stft
from featnorm_se.upstream.precision import computing


class Enhancer:
    """A trained model.

    Args:
        config: what ESPnet wrote as ``config.yaml``.
        weights: the state of ESPnet's model.
        device: where to compute: ``cpu``, ``cuda``, or ``auto``, a GPU if there is one.
        precision: of the network, one of ``PRECISIONS``; see ``computing``.
        atten_lim: take away 20 dB of anything at most, say, by leaving a tenth of the input in;
            ``None``: what the model says, without a limit.
        high_band: what lies above 8 kHz: ``keep`` it under the gain from 4 to 8 kHz, or ``drop``.

    Raises:
        FeatnormError: the limit is not above 0 dB; the configuration is none of this project's or
            has two STFTs; the weights hold NaN, or are not those of the model it describes.
    """

    def __init__(
        self,
        config: dict[str, Any],
        weights: dict[str, torch.Tensor],
        device: str | torch.device = "cpu",
        precision: str = "auto",
        atten_lim: float | None = None,
        high_band: str = "keep",
    ) -> None:
        check_decoding(precision, atten_lim, high_band)
        self.precision, self.high_band = precision, high_band
        self.left_in = 0.0 if atten_lim is None else 10 ** (-atten_lim / 20)  # share of the input
        if config.get("separator") != "featnorm":
            fault = f"the model's separator is {config.get('separator')!r}, 'featnorm' is wanted"
            raise FeatnormError(fault)
        self.device = choose_device(device)
        try:
            with warnings.catch_warnings():
                # ESPnet names torch's autocast by its old name; no user can do anything about it.
                warnings.simplefilter("ignore", FutureWarning)
                from espnet2.enh.decoder.stft_decoder import STFTDecoder
                from espnet2.enh.encoder.stft_encoder import STFTEncoder

            check_one_stft(config, strict=False)
            conf = {k: v for k, v in config["separator_conf"].items() if k != "freeze_steps"}  # 0.2
            self.encoder = STFTEncoder(**config["encoder_conf"])
            with torch.random.fork_rng(devices=[]):
                self.separator = FeatNormSeparator(self.encoder.output_dim, **conf)
            self.decoder = STFTDecoder(**config["decoder_conf"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise FeatnormError(f"the configuration builds no model: {error!r}") from error
        try:
            torch.nn.ModuleDict({"separator": self.separator}).load_state_dict(weights)
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:200]
            raise FeatnormError(f"the weights do not fit the configuration: {reason}") from error
        if bad := [k for k, v in self.separator.state_dict().items() if not v.isfinite().all()]:
            fault = f"the weights hold NaN or inf ({bad[0]}): take others, or train anew"
            raise FeatnormError(fault)
        self.talkers = self.separator.num_spk  # that it parts; 1: it enhances
        for module in (self.encoder, self.separator, self.decoder):
            module.to(self.device).eval()

    @classmethod
    def from_pretrained(
        cls,
        source: PathLike | None = None,
        device: str | torch.device = "cpu",
        model_file: str | None = None,
        precision: str = "auto",
        atten_lim: float | None = None,
        high_band: str = "keep",
    ) -> Enhancer:
        """Load an experiment's folder, a packed model, one on Hugging Face, or the shipped one.

        Args:
            source: the folder, with ``config.yaml`` and the weights; a ``.zip`` that
                ``featnorm-se pack`` wrote; or ``owner/name`` on Hugging Face; ``None``: the
                small model that comes with the package.
            device: where to compute, see the class.
            model_file: the weights' file in a folder; ``None``: the best on validation.
            precision, atten_lim, high_band: see the class.

        Raises:
            FeatnormError: a file is missing, broken, or would run code when loaded.
        """
        config, weights = read_model(SHIPPED if source is None else source, model_file)
        return cls(config, weights, device, precision, atten_lim, high_band)

    def __repr__(self) -> str:
        model = self.separator
        sites = f" at {', '.join(model.norm_sites)}" if model.norm in FEATURE_NORMS else ""
        return f"Enhancer({model.upstream.name}, norm {model.norm}{sites}, on {self.device})"

    @torch.inference_mode()
    def enhance(self, waves: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Enhance whole 16 kHz waveforms together, (N,) float32 each in and out.

        Each is as it would be alone: the STFT, which reflects the ends, takes it by itself. Of
        several talkers (talkers, N) comes out.
        """
        short = [max(0, self.encoder.n_fft - len(wav)) for wav in waves]  # to reflect its half
        padded = [pad(x, (0, n)).to(self.device)[None] for x, n in zip(waves, short, strict=True)]
        lengths = [torch.tensor([wav.shape[1]]) for wav in padded]
        spectra = [self.encoder(*both)[0][0] for both in zip(padded, lengths, strict=True)]
        frames = torch.tensor([len(spectrum) for spectrum in spectra])
        with TURN, computing(self.device, self.precision):
            enhanced, _, _ = self.separator(pad_sequence(spectra, batch_first=True), frames)
        found = []
        for row, n in enumerate(frames.tolist()):
            y = torch.cat([self.decoder(x[row, None, :n], lengths[row])[0] for x in enhanced])
            found.append(torch.lerp(y, padded[row], self.left_in) if self.left_in else y)
        # They leave the device in one copy.
        parts = torch.cat(found, dim=1).cpu().split([y.shape[1] for y in found], dim=1)
        cut = [y[:, : len(wav)] for y, wav in zip(parts, waves, strict=True)]
        return cut if self.talkers > 1 else [y[0] for y in cut]

    def __call__(
        self, x: NDArray[Any], sample_rate: float = SAMPLE_RATE, windowing: Windowing | None = None
    ) -> NDArray[np.float32]:
        """Enhance a signal of any rate and length.

        Args:
            x: (N,) or (N, channels), in [-1, 1]; each channel is enhanced by itself.
            sample_rate: of x, in Hz; other rates than 16 kHz are resampled there and back.
            windowing: how a long signal is cut; ``None``: 20 s windows, statistics of the
                whole signal. A signal of up to one window is done whole.

        Returns:
            The enhanced signal, float32, x's shape and rate, without a constant offset; of
            several talkers (talkers, N) or (talkers, N, channels).

        Raises:
            FeatnormError: x is empty, complex, of integers or as large as they are, has another
                number of axes or more channels than samples, or holds NaN.
        """
        if isinstance(sample_rate, str) or sample_rate < 1000 or sample_rate % 1:
            raise FeatnormError(f"sampling rate {sample_rate!r}: whole Hz from 1000 on are wanted")
        if isinstance(x, torch.Tensor):  # numpy has no bfloat16
            x = (x.float() if x.is_floating_point() else x).numpy(force=True)
        x = np.asarray(x)
        if x.dtype.kind != "f":
            mend = " (int16 divided by 32768)" * (x.dtype.kind in "iu")
            raise FeatnormError(f"samples are {x.dtype}: floats in [-1, 1] are wanted{mend}")
        signal = np.asarray(x, dtype=np.float32)
        if signal.ndim not in (1, 2) or not signal.size:
            raise FeatnormError(f"a signal (N,) or (N, channels) is wanted, not {signal.shape}")
        if signal.ndim == 2 and signal.shape[1] > signal.shape[0]:
            fault = f"a signal (N, channels) is wanted, not {signal.shape[1]} channels of"
            mend = "give x.T of (channels, N), as torchaudio has it"
            raise FeatnormError(f"{fault} {signal.shape[0]} samples: {mend}")
        check_samples(signal, "the signal")
        blocks, rate, frames = [signal.reshape(len(signal), -1)], int(sample_rate), len(signal)
        noisy = Signal.of(np.concatenate([*resample_blocks(blocks, rate, SAMPLE_RATE)]))
        pieces = enhance_signal(self, noisy, windowing)
        whole = to_own_rate(pieces, noisy, lambda: iter(blocks), rate, frames, self.high_band)
        y = np.concatenate(list(whole))
        each = [one.reshape(signal.shape) for one in np.split(y, self.talkers, axis=1)]
        return np.stack(each) if self.talkers > 1 else np.ascontiguousarray(each[0])


def choose_device(name: str | torch.device) -> torch.device:
    """Return the device of a name; ``auto`` is a GPU if there is one.

    Raises:
        FeatnormError: there is no such device here.
    """
    if (name := str(name)) == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise FeatnormError(f"--device is auto, cpu or cuda, not {name!r}")
    if name != "cpu" and not torch.cuda.is_available():
        raise FeatnormError(f"--device {name}: torch finds no GPU here; try auto or cpu")
    return torch.device(name)
