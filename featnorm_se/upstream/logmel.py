"""The log-mels of Mockingjay and TERA, by s3prl's own preprocessor."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from featnorm_se.errors import FeatnormError


class LogMel(nn.Module):
    """Scale each utterance to the target level and take its features.

    Utterance by utterance, since the last frames reflect the utterance's own end: in a padded
    batch they would see the padding.

    Args:
        audio: the checkpoint's ``audio`` configuration.

    Attributes:
        cmvn: normalize the log-mels of each utterance to mean 0 and deviation 1.
        plain: they are log-mels without deltas, which this project takes by itself.

    Raises:
        FeatnormError: the features are not of s3prl's on-the-fly kind.
    """

    def __init__(self, audio: dict[str, Any]) -> None:
        super().__init__()
        from s3prl.upstream.baseline.preprocessor import get_preprocessor

        kind = audio.get("input", {}).get("feat_type")
        if kind not in ("mel", "linear", "mfcc"):
            raise FeatnormError(f"mel upstreams with feat_type {kind!r} are not supported")
        # s3prl writes into the configuration it is given.
        self.extracter, self.width, _ = get_preprocessor(
            copy.deepcopy(audio), process_input_only=True
        )
        for module in self.extracter.modules():
            for name, buffer in list(module.named_buffers(recurse=False)):
                module.register_buffer(name, buffer, persistent=False)
        self.target_level = float(audio["target_level"])
        self.hop = self.extracter._win_args["hop_length"]
        self.shortest = self.extracter._win_args["n_fft"] // 2 + 1
        options = audio["input"]
        self.cmvn = bool(options.get("cmvn", False))
        self.plain = kind == "mel" and bool(options.get("log")) and not options.get("delta")

    def forward(self, wav: Tensor, counts: list[int], together: bool = False) -> Tensor:
        """Return (B, T, D) for wav (B, N) with ``counts`` valid samples.

        ``together`` takes the features of the padded batch as s3prl does.
        """
        with torch.autocast(wav.device.type, enabled=False):
            rows = [
                self._padded(self.to_level(row[:n])) for row, n in zip(wav, counts, strict=True)
            ]
            if together:
                batch = pad_sequence(rows, batch_first=True).unsqueeze(1)
                feats: Tensor = self.extracter(batch, wavs_len=[len(row) for row in rows])[0]
                return feats
            return pad_sequence([self._one(row) for row in rows], batch_first=True)

    def to_level(self, row: Tensor) -> Tensor:
        """Return one utterance (N,) at the target level."""
        level = row.pow(2).mean().pow(0.5)
        return row * (10 ** (self.target_level / 20) / (level + 1e-10))

    def _padded(self, row: Tensor) -> Tensor:
        """One utterance (N,), long enough for a frame."""
        return nn.functional.pad(row, (0, max(0, self.shortest - len(row))))

    def _one(self, row: Tensor) -> Tensor:
        """Features (T, D) of one utterance."""
        extracter = self.extracter
        if not self.plain:
            whole: Tensor = extracter(row[None, None], wavs_len=[len(row)])[0][0]
            return whole
        # The preprocessor's own pieces; calling it whole computes MFCCs for nothing too.
        power = extracter._stft(row[None], window=extracter._window)[0].abs().pow(2)
        mel = (extracter._melscale(power) + extracter.eps).log().contiguous()
        if self.cmvn:
            mean, std = mel.mean(-1, keepdim=True), mel.std(-1, keepdim=True)
            mel = (mel - mean) / (std + extracter.eps)
        return mel.t()
