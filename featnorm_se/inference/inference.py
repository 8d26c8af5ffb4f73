"""Stage 4: a test set through a trained model, utterance by utterance."""

from __future__ import annotations

import sys
import time
from itertools import islice
from pathlib import Path

from featnorm_se.data.audio import audio_info, read_audio, write_audio
from featnorm_se.data.scp import list_enhanced, read_scp
from featnorm_se.errors import FeatnormError
from featnorm_se.inference.enhancer import Enhancer
from featnorm_se.inference.loading import find_weights
from featnorm_se.inference.longform import Windowing
from featnorm_se.names import SAMPLE_RATE


def enhance_set(
    model: Path,
    wav_scp: Path,
    output: Path,
    *,
    shard: tuple[int, int] = (1, 1),
    device: str = "cpu",
    model_file: str | None = None,
    bf16: bool = False,
    atten_lim: float | None = None,
    windowing: Windowing | None = None,
    newer_than: float = 0.0,
) -> None:
    """Enhance every n-th utterance of an scp into ``output/wav/<utterance>.wav`` (int16).

    Files that are there, whole, newer than model and settings, are not made again. With one shard,
    or by ``list_enhanced`` after all, ``output/spk1.scp`` lists them.

    Args:
        model: the experiment's folder.
        wav_scp: noisy utterances, 16 kHz mono.
        output: folder to write to.
        shard: (k, n): every n-th utterance from the k-th on.
        device: where to compute.
        model_file: weights in the experiment's folder; ``None``: the best.
        bf16: compute in bfloat16 where the processor has it.
        atten_lim: dB that are taken away at most; ``None``: no limit.
        windowing: how a long utterance is cut; ``None``: as ``Enhancer`` does by itself.
        newer_than: when the settings were last changed, in seconds since 1970.

    Raises:
        FeatnormError: the model or an utterance cannot be read.
    """
    entries = read_scp(wav_scp)
    enhancer = Enhancer.from_pretrained(model, device, model_file, bf16, atten_lim)
    trained = max(find_weights(model, model_file).stat().st_mtime, newer_than)
    index, shards = shard
    keys = list(islice(sorted(entries), index - 1, None, shards))
    started = told = time.monotonic()
    seconds = 0.0
    for done, key in enumerate(keys, start=1):
        target = output / "wav" / f"{key}.wav"
        if not _is_done(target, entries[key], trained):
            wav = read_audio(entries[key], SAMPLE_RATE)
            try:
                write_audio(target, enhancer(wav, windowing=windowing), SAMPLE_RATE)
            except FeatnormError as error:
                raise FeatnormError(f"utterance {key}: {error}") from error
            seconds += len(wav) / SAMPLE_RATE
        if time.monotonic() - told > 5 or done == len(keys):
            told = time.monotonic()
            spent = told - started
            print(
                f"enhancing, shard {index}/{shards}: {done}/{len(keys)} utterances,"
                f" {seconds / max(spent, 1e-9):.1f} times real time,"
                f" {spent / done * (len(keys) - done):.0f} s left",
                file=sys.stderr,
                flush=True,
            )
    if shards == 1:
        list_enhanced(entries, output)


def _is_done(target: Path, source: str, trained: float) -> bool:
    if not target.is_file() or target.stat().st_mtime < trained:
        return False
    return audio_info(target).frames == audio_info(source).frames
