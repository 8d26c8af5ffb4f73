"""Stage 4: a test set through a trained model, utterance by utterance."""

from __future__ import annotations

import os
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from featnorm_se.data.audio import read_audio, write_audio
from featnorm_se.data.scp import read_scp, write_scp
from featnorm_se.errors import FeatnormError
from featnorm_se.files import is_done, mark_done
from featnorm_se.inference.jobs import Settings, load_once
from featnorm_se.names import SAMPLE_RATE
from featnorm_se.progress import progress


def enhance_set(
    settings: Settings, wav_scp: Path, output: Path, shard: tuple[int, int] = (1, 1)
) -> None:
    """Enhance every n-th utterance of an scp into ``output/wav/<utterance>.wav`` (int16).

    What is done is not done again. With one shard, or by ``list_enhanced`` after all,
    ``output/spk1.scp`` lists the files.

    Args:
        settings: the model and how.
        wav_scp: noisy utterances, 16 kHz mono.
        output: folder to write to.
        shard: (k, n): every n-th utterance from the k-th on.

    Raises:
        FeatnormError: the model or an utterance cannot be read.
    """
    entries = read_scp(wav_scp)
    enhancer, request = load_once(settings), settings.request()
    index, shards = shard
    keys = list(islice(sorted(entries), index - 1, None, shards))
    for key in progress(keys, f"enhancing, shard {index}/{shards}", unit="utterance"):
        target, source = output / "wav" / f"{key}.wav", Path(entries[key])
        # What is no file is a place in an archive.
        if is_done(target, request, [source] if source.exists() else []):
            continue
        wav = read_audio(entries[key], SAMPLE_RATE)
        try:
            write_audio(target, enhancer(wav, windowing=settings.windowing), SAMPLE_RATE)
        except FeatnormError as error:
            raise FeatnormError(f"utterance {key}: {error}") from error
        mark_done(target, request)
    if shards == 1:
        list_enhanced(entries, output)


def list_enhanced(keys: Iterable[str], output: Path) -> None:
    """Write ``output/spk1.scp`` with every enhanced utterance.

    Raises:
        FeatnormError: one is missing; the message says how many are.
    """
    files = {key: output / "wav" / f"{key}.wav" for key in keys}
    missing = [key for key, path in files.items() if not path.is_file()]
    if missing:
        raise FeatnormError(
            f"{len(missing)} of {len(files)} utterances were not enhanced, {missing[0]} first:"
            " run stage 4 again"
        )
    write_scp(output / "spk1.scp", {key: os.path.abspath(path) for key, path in files.items()})
