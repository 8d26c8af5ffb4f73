"""Clean-statistics collection: a corpus through the upstream, as far as the last site."""

import hashlib
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from functools import partial, reduce
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from featnorm_se import __version__
from featnorm_se.data.audio import FloatArray, audio_info, read_audio
from featnorm_se.data.parallel import ahead, beside, parallel_map
from featnorm_se.data.scp import read_scp
from featnorm_se.errors import FeatnormError, say
from featnorm_se.files import is_done, locked, mark_done, stamp
from featnorm_se.names import LEVEL_SITE, SAMPLE_RATE
from featnorm_se.progress import progress
from featnorm_se.statistics import FeatureStats, SiteStats
from featnorm_se.upstream import load_upstream
from featnorm_se.upstream.base import Upstream
from featnorm_se.upstream.batching import (
    keep_blocks,
    like_lengths,
    may_hold_silence,
    signal_blocks,
    zero_padding,
)

Shard = tuple[int, int]  # (k, n): every n-th utterance from the k-th on, 1 <= k <= n


def part_versions() -> dict[str, str]:
    """Return the versions of the parts that decide what the numbers are."""
    versions = {"featnorm_se": __version__, "python": platform.python_version()}
    for name in ("torch", "torchaudio", "espnet", "espnet-s3prl", "numpy"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions


def deciding_versions(versions: Mapping[str, str]) -> dict[str, str]:
    """Return those of ``part_versions`` that work begun with one may not go on with another of."""
    # torch 2.13.0+cpu and torch 2.13.0+cu130 are one version on two devices.
    parts = ("torch", "espnet", "espnet-s3prl")
    return {name: versions[name].split("+")[0] for name in parts if name in versions}


def check_versions(before: Mapping[str, str], what: str, mend: str) -> None:
    """Refuse to go on with ``what`` another environment has begun: the numbers would be of neither.

    ``before`` is what ``part_versions`` said when it began; empty: unknown.

    Raises:
        FeatnormError: torch, ESPnet or s3prl had another version.
    """
    begun, here = deciding_versions(before), deciding_versions(part_versions())
    other = [name for name, version in begun.items() if here[name] != version]
    if other:
        then, now = (", ".join(f"{n} {v[n]}" for n in other) for v in (begun, here))
        fault = f"{what} was begun with {then}, this environment has {now}"
        raise FeatnormError(f"{fault}: go on in the one that began it, or {mend}")


def collect(
    upstream: Upstream,
    entries: Mapping[str, str],
    sites: Sequence[str],
    *,
    kind: str = "clean",
    shard: Shard = (1, 1),
    device: str = "cpu",
) -> FeatureStats:
    """Collect the statistics of one shard of a corpus.

    Args:
        upstream: in evaluation mode afterwards; no normalization is applied in it.
        entries: audio paths by utterance, 16 kHz.
        sites: canonical site names; the site ``level`` (RMS in dB) is always added.
        kind: ``clean`` or ``noisy``, kept in the meta data.
        shard: (k, n): every n-th utterance, from the k-th on, 1 <= k <= n.
        device: where the upstream runs.

    Raises:
        FeatnormError: an unreadable or silent utterance, or a shard with no utterance.
    """
    keys = _shard_keys(entries, shard)
    if device != "cpu" and not torch.cuda.is_available():
        raise FeatnormError(f"--device {device}: torch finds no GPU here; cpu is wanted")
    upstream.to(device).eval()
    totals: dict[str, SiteStats] = {}
    corpus = samples = 0
    label = f"{kind} statistics" + (f" {shard[0]}/{shard[1]}" if shard[1] > 1 else "")
    for batch in _batches(entries, keys, device, label):
        waves, sizes, digests = zip(*batch, strict=True)
        corpus, samples = corpus + sum(digests), samples + sum(sizes)
        for found in _of_utterances(upstream, waves, sites, device):
            for site, value in found.items():
                totals[site] = totals[site].merge(value) if site in totals else value
    meta = {
        "kind": kind,
        "upstream": upstream.name,
        "identity": upstream.identity,
        "sample_rate": SAMPLE_RATE,
        "lowest_site": upstream.lowest_site,
        "versions": part_versions(),
        "corpus": f"{corpus % (1 << 256):064x}",
        "utterances": len(keys),
        "samples": samples,
        "shard": list(shard),
    }
    return FeatureStats(totals, meta)


def _shard_keys(entries: Mapping[str, str], shard: Shard) -> list[str]:
    keys = sorted(entries)[shard[0] - 1 :: shard[1]]
    if not keys:
        raise FeatnormError(f"shard {shard[0]} of {shard[1]} has no utterance: take a smaller --nj")
    return keys


def _batches(
    entries: Mapping[str, str], keys: list[str], device: str, label: str
) -> Iterator[list[tuple[Tensor, int, int]]]:
    """Yield what ``_read`` gives, of utterances that go together, one batch ahead."""
    with beside(device) as run:
        of_key = (lambda _: 0) if device == "cpu" else (lambda key: audio_info(entries[key]).frames)
        alike = like_lengths(list(run(of_key, keys)), torch.device(device))
        batches = [[keys[number] for number in batch] for batch in alike]
        read = (list(run(partial(_read, entries), batch)) for batch in batches)
        unit = "utterance" if device == "cpu" else "batch"
        yield from progress(ahead(read, lambda _: 1), label, len(batches), unit)


def _read(entries: Mapping[str, str], key: str) -> tuple[Tensor, int, int]:
    """Return an utterance without its silence, its samples with it, and a digest of them."""
    wav = read_audio(entries[key], SAMPLE_RATE)
    digest = int(hashlib.sha256(key.encode() + wav.tobytes()).hexdigest(), 16)
    return without_silence(wav, f"utterance {key} ({entries[key]})"), len(wav), digest


def without_silence(wav: FloatArray, name: str) -> Tensor:
    """Return the samples (N,) of the blocks that hold a signal, as the statistics are of.

    Raises:
        FeatnormError: no block does; ``name`` is the utterance's, for the message.
    """
    batch, lengths = torch.from_numpy(wav)[None], torch.tensor([len(wav)])
    if not may_hold_silence(batch):  # a fifth of the time
        return batch[0]
    blocks = signal_blocks(batch, lengths)
    if not blocks.any():
        raise FeatnormError(f"{name}: the utterance is silent: take it out of the set")
    return keep_blocks(batch, lengths, blocks)[0][0]


def _of_utterances(
    upstream: Upstream, waves: Sequence[Tensor], sites: Sequence[str], device: str
) -> list[dict[str, SiteStats]]:
    """Return each utterance's own statistics, of waves (N,) that go through the model at once."""
    levels = [20 * np.log10(float(wav.double().square().mean().sqrt())) for wav in waves]
    found = [{LEVEL_SITE: SiteStats.of(np.array([[level]]))} for level in levels]
    lengths = torch.tensor([len(wav) for wav in waves])
    with torch.inference_mode():
        batch = pad_sequence([*waves], batch_first=True).to(device)
        features, frames = upstream.extract(batch, lengths, sites, apply_norms=False)
        for site in sites:
            x = features[site].double()
            mean = x.sum(dim=1) / frames.to(x, non_blocking=True)[:, None]
            m2 = zero_padding(x - mean[:, None], frames).square().sum(dim=1)
            both = torch.stack([mean, m2], dim=1).cpu().numpy()
            for one, size, (of_mean, of_m2) in zip(found, frames.tolist(), both, strict=True):
                one[site] = SiteStats(size, of_mean, of_m2)
    return found


def say_sites(stats: FeatureStats, output: Path) -> None:
    """Say of which sites the statistics are, and at which of them FN can do nothing."""
    sites = [site for site in stats.sites if site != LEVEL_SITE]
    lowest = stats.meta.get("lowest_site", "unknown")
    say(f"{output}: statistics at {', '.join(sites)} (auto, the default site, is {lowest} here)")
    if lowest == "projection" and "frontend" in sites:
        note = "note: at frontend every utterance has the same mean and deviation already"
        say(f"{note}, so FN is one fixed map there: take auto")


def collect_shards(
    *,
    output: Path,
    wav_scp: Sequence[Path],
    source: Mapping[str, Any],
    norm_site: str,
    kind: str,
    shards: Sequence[Shard],
    device: str,
) -> None:
    """Collect the given shards, a process each, and write their merged statistics.

    What is there already is not collected again. Runs that share an output wait for one another.
    ``source`` is what ``load_upstream`` takes, ``norm_site`` sites, comma-separated. The lists of
    several talkers, ``wav_scp``, may name the same utterances; for the rest see ``collect``.
    """
    entries = read_scp(wav_scp[0])
    for number, scp in enumerate(wav_scp[1:], start=2):
        entries |= {f"{key}-spk{number}": path for key, path in read_scp(scp).items()}
    files = {key: entries[key] for shard in shards for key in _shard_keys(entries, shard)}
    missing = next((path for path in files.values() if not os.path.isfile(path)), None)
    if missing is not None:  # said before hours of work
        raise FeatnormError(f"no such audio file: {missing}: run stage 1")
    upstream = load_upstream(**source)
    sites = upstream.resolve_sites(norm_site)
    request = {
        "identity": upstream.identity,
        "architecture": upstream.config,  # which a card gives to weights alone, and to random ones
        "sites": sites,
        "kind": kind,
        "shards": [list(shard) for shard in shards],
        "utterances": sorted(files),
        "files": stamp(files[key] for key in sorted(files)),
    }
    with locked(output, wait=True):
        if is_done(output, request):
            say(f"{output} is there already")
            return
        if len(shards) == 1:
            stats = collect(upstream, entries, sites, kind=kind, shard=shards[0], device=device)
        else:
            jobs = [(source, entries, sites, kind, shard, device) for shard in shards]
            parts = parallel_map(_collect_job, jobs, len(jobs), f"{kind} statistics")
            stats = reduce(FeatureStats.merge, parts)
        stats.save(output)
        mark_done(output, request)
    if len(shards) == shards[0][1]:
        say_sites(stats, output)


def _collect_job(job: tuple[Any, ...]) -> FeatureStats:
    source, entries, sites, kind, shard, device = job
    return collect(load_upstream(**source), entries, sites, kind=kind, shard=shard, device=device)


def merge_shards(paths: Sequence[Path], output: Path) -> None:
    """Merge what shards have written into ``output``.

    Raises:
        FeatnormError: a shard is missing or broken, or they do not belong together.
    """
    shards = [FeatureStats.load(path) for path in paths]
    for path, shard in zip(paths, shards, strict=True):
        check_versions(shard.meta.get("versions", {}), str(path), f"remove {path.parent} and begin")
    merged = reduce(FeatureStats.merge, shards)
    # Of runs with different --nj that shared a folder they would be no whole corpus.
    numbers = [shard.meta.get("shard") for shard in shards]
    if not all([k, len(paths)] in numbers for k in range(1, len(paths) + 1)):
        raise FeatnormError(f"the shards {numbers} for {output} make no whole: run stage 2 again")
    with locked(output, wait=True):
        merged.save(output)
    say_sites(merged, output)
