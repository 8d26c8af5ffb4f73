"""The separator ``featnorm``: upstream, feature normalization, head, mask."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from espnet2.enh.separator.abs_separator import AbsSeparator
from torch import Tensor
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence

from featnorm_se.errors import FeatnormError
from featnorm_se.model.head import HEADS, WeightedSum, to_stft_rate
from featnorm_se.model.recorded import Recorder
from featnorm_se.names import (
    DEFAULT_NORM,
    FEATURE_NORMS,
    LEVEL_SITE,
    check_norm,
    check_precision,
    highest_site,
)
from featnorm_se.normalization import FeatureNorm, LevelNorm
from featnorm_se.statistics import FeatureStats
from featnorm_se.upstream import load_upstream
from featnorm_se.upstream.base import Upstream
from featnorm_se.upstream.batching import keep_blocks, padding_mask, signal_blocks, zero_padding
from featnorm_se.upstream.precision import computing


class FeatNormSeparator(AbsSeparator):
    """Estimate a magnitude mask from an upstream's features, normalized on the way.

    It is built with random weights and blank statistics from its configuration alone, so that
    a trained model needs neither the checkpoint nor the statistics file it started from;
    ``start_from`` puts both in before training.

    Args:
        input_dim: number of frequencies F of the encoder.
        upstream: the upstream's name, or one that is loaded already, which becomes part of this.
        upstream_conf: its architecture (``Upstream.config``); ``None``: that of the name.
        norm: kind of feature normalization, one of ``NORMS``.
        norm_site: the sites to normalize at, e.g. ``auto`` or ``["frontend", "layer.3"]``.
        feature: what the head gets: a site such as ``last`` or ``layer.6`` (nothing above it is
            computed), or the ``weighted_sum`` of all layers and of what goes into the first, with
            learnt weights.
        feature_layer_norm: each layer has a layer norm of its own before the weighted sum.
        use_spectrum: the head also takes log1p|Y|.
        n_fft, hop_length, win_length: the STFT, the same as the encoder's.
        head: one of ``HEADS``.
        layers, units, dropout: the head's BLSTM.
        freeze: ``none``, ``cnn`` (the convolutional encoder) or ``all`` of the upstream.
        upstream_dropout: its dropout; ``None``: as it was pre-trained.
        gradient_checkpointing: less memory in training for more time.
        fast: waveform models by our own arithmetic on s3prl's weights; ``False``: its modules.
        precision: of upstream and head while training, one of ``PRECISIONS``.
        bf16: what older configurations say in its place.
        num_spk: 1, or so many talkers, each of whom gets a mask of his own.

    Attributes:
        has_silence: ``False``: whoever calls knows that every 10 ms of the batch hold a signal, and
            a GPU need not be waited for to see that; else it is looked at.
        recorder: plays its own part of training steps of one shape on a GPU; ``None``: does not.

    Raises:
        FeatnormError: a name, norm or site that does not exist, or an STFT that is not the
            encoder's.
    """

    num_spk = 1
    recorder: Recorder | None = None

    def __init__(
        self,
        input_dim: int,
        upstream: str | Upstream = "wavlm",
        upstream_conf: Mapping[str, Any] | None = None,
        norm: str = DEFAULT_NORM,
        norm_site: str | Sequence[str] = "auto",
        feature: str = "last",
        feature_layer_norm: bool = False,
        use_spectrum: bool = True,
        n_fft: int = 512,
        hop_length: int = 160,
        win_length: int = 400,
        head: str = "blstm",
        layers: int = 2,
        units: int = 256,
        dropout: float = 0.0,
        freeze: str = "none",
        upstream_dropout: float | None = None,
        gradient_checkpointing: bool = False,
        fast: bool = True,
        precision: str = "auto",
        bf16: bool | None = None,
        num_spk: int = 1,
    ) -> None:
        super().__init__()
        if num_spk < 1:
            raise FeatnormError(f"num_spk is {num_spk}: at least one talker is wanted")
        self.num_spk = num_spk
        if head not in HEADS:
            raise FeatnormError(f"no such head: {head!r}; there are {', '.join(HEADS)}")
        self.stft = (n_fft, hop_length, win_length)
        if n_fft // 2 + 1 != input_dim:
            raise FeatnormError(f"separator_conf.n_fft {n_fft}: the encoder has another STFT")
        if isinstance(upstream, str):
            upstream = load_upstream(upstream, "scratch", config=upstream_conf)
        self.upstream = upstream
        self.norm, sites = check_norm(norm), list(upstream.sites)
        self.norm_sites = upstream.resolve_sites(norm_site)
        acts = norm in FEATURE_NORMS
        highest = highest_site(feature, sites, self.norm_sites if acts else ())
        upstream.configure(freeze, upstream_dropout, gradient_checkpointing, fast, highest)
        self.level_norm = LevelNorm() if norm == "level" else None
        for site in self.norm_sites if acts else ():
            upstream.set_norm(site, FeatureNorm.empty(upstream.sites[site], norm))
        self.feature_sites, self.weighted_sum = [highest], None
        if feature == "weighted_sum":
            self.feature_sites = summed = sites[1 if upstream.num_layers else 0 :]
            self.weighted_sum = WeightedSum(len(summed), upstream.width, feature_layer_norm)
        sizes = (upstream.sites[highest], input_dim, use_spectrum, layers, units, dropout, num_spk)
        self.head = HEADS[head](*sizes)
        self.has_silence = True
        self.precision = check_precision(precision, bf16)
        self.register_load_state_dict_pre_hook(_drop_steps)

    def start_from(
        self,
        weights: Mapping[str, Tensor],
        clean: FeatureStats | None = None,
        noisy: FeatureStats | None = None,
    ) -> None:
        """Put pre-trained weights and collected statistics in.

        Args:
            weights: the state of an upstream of the same architecture.
            clean: clean statistics at every site of ``norm_sites``; ``level`` reads its own.
            noisy: noisy ones; the norm ``corpus`` needs them.
        """
        own = self.upstream.state_dict()
        norms = {key: value for key, value in own.items() if key.startswith("norms.")}
        self.upstream.load_state_dict({**weights, **norms})
        if self.norm == "none":
            return
        if clean is None:
            raise FeatnormError(f"norm {self.norm!r} needs clean statistics: run stage 2")
        if self.level_norm is not None:
            self.level_norm.level_db.fill_(float(clean[LEVEL_SITE].mean[0]))
            return
        for site in self.norm_sites:
            filled = FeatureNorm(clean[site], self.norm, noisy[site] if noisy else None)
            self.upstream.norms[site.replace(".", "_")].load_state_dict(filled.state_dict())

    def forward(
        self, input: Tensor, ilens: Tensor, additional: dict[str, Any] | None = None
    ) -> tuple[list[Tensor], Tensor, OrderedDict[str, Tensor]]:
        """Enhance a batch of spectra.

        Args:
            input: the noisy spectrum, complex (B, T, F).
            ilens: valid frames (B,), best on the CPU, as ESPnet has them of chunks.
            additional: ignored; ESPnet hands it to every separator.

        Returns:
            A list of the talkers' spectra (of one, where noise is all that is taken away),
            ``ilens``, and their masks as ``mask_spk1``, ``mask_spk2`` and so on.
        """
        spectrum = torch.complex(input.real.float(), input.imag.float())
        lengths = ilens.cpu()
        compute = partial(self._masks, lengths=lengths)
        whole = int(lengths.min()) == spectrum.shape[1]
        if self.recorder is not None and whole and self.repeats(spectrum.shape[1], input.device):
            mask = self.recorder(compute, spectrum, self)
        else:
            mask = compute(spectrum)
        mask = mask.to(input.real.dtype)
        masks = mask.chunk(self.num_spk, dim=-1)
        named = OrderedDict((f"mask_spk{n}", one) for n, one in enumerate(masks, start=1))
        return [input * one for one in masks], ilens, named

    def repeats(self, frames: int, device: torch.device) -> bool:
        """Whether a step on whole pieces does the same as the last, whatever the signals are."""
        by_itself = not (torch.is_autocast_enabled(device.type) or torch.is_anomaly_enabled())
        samples = (frames - 1) * self.stft[1]  # pieces' lengths would be copied
        once = not self.upstream.gradient_checkpointing and not self.upstream.piece(samples)
        return self.training and not self.has_silence and by_itself and once

    def _masks(self, spectrum: Tensor, lengths: Tensor) -> Tensor:
        """Return the talkers' masks of spectra (B, T, F), (B, T, talkers * F)."""
        with torch.no_grad():
            wav, samples = invert_stft(spectrum, lengths, *self.stft)
            kept = None
            if self.has_silence:
                kept = self._signal_frames(wav, samples, lengths, spectrum.shape[1])
        with computing(spectrum.device, self.precision) if self.training else nullcontext():
            if kept is None:
                return self._mask(spectrum, lengths, wav, samples)
            # Only what holds a signal goes through the model: so the rest counts in no
            # statistics, no level and no context. It gets the mask 0.
            speaks = kept.any(dim=1)
            kept[~speaks, :2] = True  # a model wants a frame to look at
            wav, samples = keep_blocks(wav, samples, kept[:, :-1], self.stft[1])
            rows = [frames[row] for frames, row in zip(spectrum, kept, strict=True)]
            left = kept.sum(dim=1).cpu()
            found = self._mask(pad_sequence(rows, batch_first=True), left, wav, samples)
            found = found[~padding_mask(left, found.shape[1], found.device)]
            mask = found.new_zeros(*spectrum.shape[:2], found.shape[-1])
            return mask.masked_scatter(kept[..., None], found) * speaks[:, None, None]

    def _signal_frames(
        self, wav: Tensor, samples: Tensor, lengths: Tensor, size: int
    ) -> Tensor | None:
        """Return which of ``size`` frames hold a signal, (B, T) booleans; ``None``: all do."""
        if size < 2:
            return None
        valid = ~padding_mask(lengths, size, wav.device)
        blocks = signal_blocks(wav, samples, self.stft[1], self.upstream.silence)
        # Blocks are the steps from frame to frame; the last frame goes with the last of them.
        frames = pad(blocks, (0, size - blocks.shape[1]))
        frames = frames | (padding_mask(lengths - 1, size, wav.device) & frames.roll(1, dims=1))
        frames &= valid
        return None if torch.equal(frames, valid) else frames

    def _mask(self, spectrum: Tensor, lengths: Tensor, wav: Tensor, samples: Tensor) -> Tensor:
        """Return the masks of spectra (B, T, F), which are those of wav (B, N)."""
        if self.level_norm is not None:
            wav = self.level_norm(wav, samples)
        kept, counts = self.upstream.extract(wav, samples, self.feature_sites)
        found = [kept[site] for site in self.feature_sites]
        features = found[0] if self.weighted_sum is None else self.weighted_sum(found)
        rates = (self.upstream.hop, self.upstream.offset, self.stft[1])
        features = to_stft_rate(features, counts, *rates, spectrum.shape[1])
        return self.head(features, spectrum.abs(), lengths).float()


def _drop_steps(_: Any, state: dict[str, Tensor], prefix: str, *__: Any) -> None:
    state.pop(f"{prefix}steps", None)  # a count that version 0.2 and before kept


def invert_stft(
    spectrum: Tensor,
    lengths: Tensor,
    n_fft: int,
    hop_length: int,
    win_length: int,
    samples: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the waveforms of a batch of spectra, each as if it stood alone.

    Args:
        spectrum: complex (B, T, F), of centred frames with a Hann window.
        lengths: frames of each utterance (B,), on the CPU.
        n_fft, hop_length, win_length: in samples.
        samples: how many each utterance had (B,); ``None``: the frames do not tell, and up to
            ``hop_length`` - 1 at the very end do not come back.

    Returns:
        Waveforms (B, N), zero beyond their lengths, and lengths in samples (B,).
    """
    size = spectrum.shape[1]
    # Not torch.istft, which waits for the device to say that no window is missing.
    beside = (n_fft - win_length) // 2
    window = torch.hann_window(win_length, device=spectrum.device)
    window = pad(window, (beside, n_fft - win_length - beside))
    frames = torch.fft.irfft(spectrum, n_fft) * window
    ragged = int(lengths.min()) < size
    valid = ~padding_mask(lengths if ragged else lengths[:1], size, spectrum.device)[..., None]
    frames = frames * valid if ragged else frames

    def overlap_add(x: Tensor) -> Tensor:
        parts = x.split(hop_length, dim=2)
        y = x.new_zeros((len(x), size + len(parts) - 1, hop_length))
        for late, part in enumerate(parts):
            y[:, late : late + size, : part.shape[2]] += part
        return y.flatten(1)

    samples = (lengths - 1) * hop_length if samples is None else samples
    within = slice(n_fft // 2, n_fft // 2 + max(int(samples.max()), 1))
    wav = overlap_add(frames) / overlap_add(window.square() * valid).clamp_min(1e-11)
    return zero_padding(wav[:, within, None], samples)[..., 0], samples.clamp_min(1)
