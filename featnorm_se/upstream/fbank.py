"""The control without self-supervision: log-mel filterbank features straight to the head."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from featnorm_se.upstream.base import Steps, Upstream
from featnorm_se.upstream.logmel import keep_out_of_state
from featnorm_se.upstream.padding import check_batch


class FbankUpstream(Upstream):
    """80 log-mels of 25 ms windows every 10 ms, by torchaudio; no parameters, one site."""

    def __init__(self, mel: Any, config: dict[str, Any]) -> None:
        super().__init__(mel, config)
        self.hop, self.offset = mel.hop_length, 0
        self.shortest = mel.n_fft // 2 + 1
        self.width = mel.n_mels
        self.sites = {"frontend": self.width}

    def walk(self, wav: Tensor, wav_lengths: Tensor) -> Steps:
        """Yield the one site; see ``Upstream.walk``."""
        wav_lengths = wav_lengths.to(wav.device)
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


def read(states: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """There is no checkpoint of this control."""
    raise KeyError("fbank has no weights")
