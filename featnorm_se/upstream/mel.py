"""Log-mels: what Mockingjay and TERA begin with, and all that the control ``fbank`` is."""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from featnorm_se.errors import FeatnormError
from featnorm_se.upstream.base import Steps, Upstream
from featnorm_se.upstream.batching import check_batch


def keep_out_of_state(module: nn.Module) -> None:
    """Let windows and filters be no part of what is saved, since the configuration gives them."""
    for part in module.modules():
        for name, buffer in list(part.named_buffers(recurse=False)):
            part.register_buffer(name, buffer, persistent=False)


class LogMel(nn.Module):
    """Scale each utterance to the target level and take its features, by s3prl's preprocessor.

    Utterance by utterance, since the last frames reflect the utterance's own end: in a padded
    batch they would see the padding.

    Args:
        audio: the checkpoint's ``audio`` configuration.

    Attributes:
        cmvn: normalize the log-mels of each utterance to mean 0 and deviation 1.
        plain: they are log-mels without deltas, which this project takes by itself.

    Raises:
        FeatnormError: the features are not of s3prl's on-the-fly kind (but Kaldi's, say).
    """

    def __init__(self, audio: dict[str, Any]) -> None:
        super().__init__()
        from s3prl.upstream.baseline.preprocessor import get_preprocessor

        options = audio.get("input", {})
        kind = "kaldi" if "kaldi" in audio else options.get("feat_type")
        if kind not in ("mel", "linear", "mfcc"):
            raise FeatnormError(f"mel upstreams with feat_type {kind!r} are not supported")
        # s3prl writes into the configuration it is given.
        self.extracter, self.width, _ = get_preprocessor(
            copy.deepcopy(audio), process_input_only=True
        )
        keep_out_of_state(self.extracter)
        self.target_level = float(audio["target_level"])
        self.hop = self.extracter._win_args["hop_length"]
        self.shortest = self.extracter._win_args["n_fft"] // 2 + 1
        self.cmvn = bool(options.get("cmvn", False))
        self.plain = kind == "mel" and bool(options.get("log")) and not options.get("delta")

    def forward(self, wav: Tensor, counts: list[int]) -> Tensor:
        """Return (B, T, D) for wav (B, N) with ``counts`` valid samples."""
        with torch.autocast(wav.device.type, enabled=False):
            rows = [self._one(row[:n]) for row, n in zip(wav, counts, strict=True)]
            return pad_sequence(rows, batch_first=True)

    def _one(self, row: Tensor) -> Tensor:
        """Features (T, D) of one utterance (N,)."""
        extracter = self.extracter
        level = row.pow(2).mean().clamp_min(1e-30).pow(0.5)  # silence has a gradient, too
        row = row * (10 ** (self.target_level / 20) / (level + 1e-10))
        row = nn.functional.pad(row, (0, max(0, self.shortest - len(row))))
        if not self.plain:
            whole: list[Tensor] = extracter(row[None, None], None, [len(row)])
            return whole[0][0]
        # The preprocessor's own pieces; calling it whole computes MFCCs for nothing too.
        power = extracter._stft(row[None], window=extracter._window)[0].abs().pow(2)
        mel = (extracter._melscale(power) + extracter.eps).log().contiguous()
        if self.cmvn:
            mean, std = mel.mean(-1, keepdim=True), mel.std(-1, keepdim=True)
            mel = (mel - mean) / (std + extracter.eps)
        return mel.t()


class FbankUpstream(Upstream):
    """The control without self-supervision: log-mels by torchaudio, straight to the head.

    It has one site and no parameters; its card has 80 mels of 25 ms windows every 10 ms.
    """

    def __init__(self, mel: Any, config: dict[str, Any]) -> None:
        super().__init__(mel, config)
        self.hop, self.offset = mel.hop_length, 0
        self.shortest = mel.n_fft // 2 + 1
        self.width = mel.n_mels
        self.sites = {"frontend": self.width}

    def walk(self, wav: Tensor, wav_lengths: Tensor) -> Steps:
        """Yield the one site; see ``Upstream.walk``."""
        wav, counts = check_batch(wav, wav_lengths, self.shortest)
        with torch.autocast(wav.device.type, enabled=False):
            # One by one: the last frames reflect the utterance's own end.
            rows = [row[: max(n, self.shortest)] for row, n in zip(wav, counts, strict=True)]
            parts = [(self.model(row) + 1e-10).log().t() for row in rows]
        yield "frontend", pad_sequence(parts, batch_first=True), self.frames(wav_lengths)


def build(architecture: dict[str, Any]) -> FbankUpstream:
    """Build from ``{"mel": {...}}``, the arguments of torchaudio's MelSpectrogram."""
    from torchaudio.transforms import MelSpectrogram

    mel = MelSpectrogram(**architecture["mel"])
    keep_out_of_state(mel)
    return FbankUpstream(mel, {"mel": dict(architecture["mel"])})
