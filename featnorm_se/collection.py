"""Clean-statistics collection: a corpus through the upstream, as far as the last site."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import metadata
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from featnorm_se import __version__
from featnorm_se.data.audio import FloatArray, read_audio
from featnorm_se.data.parallel import parallel_map
from featnorm_se.data.scp import read_scp
from featnorm_se.errors import FeatnormError
from featnorm_se.names import LEVEL_SITE, SAMPLE_RATE
from featnorm_se.statistics import FeatureStats, SiteStats
from featnorm_se.upstream import load_upstream
from featnorm_se.upstream.base import Upstream


def part_versions() -> dict[str, str]:
    """Return the versions of the parts that decide what the numbers are."""
    versions = {"featnorm_se": __version__, "python": platform.python_version()}
    for name in ("torch", "torchaudio", "espnet", "espnet-s3prl", "numpy"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions


def collect(
    upstream: Upstream,
    entries: Mapping[str, str],
    sites: Sequence[str],
    *,
    kind: str = "clean",
    shard: tuple[int, int] = (1, 1),
    device: str = "cpu",
    progress: bool = True,
) -> FeatureStats:
    """Collect the statistics of one shard of a corpus.

    The upstream runs without normalization, as far as the deepest site, one utterance at a time:
    that is exact for every model, and on a processor as fast as batches.

    Args:
        upstream: in evaluation mode afterwards.
        entries: audio paths by utterance, 16 kHz.
        sites: canonical site names; the site ``level`` (RMS in dB) is always added.
        kind: ``clean`` or ``noisy``, kept in the meta data.
        shard: (k, n): every n-th utterance, from the k-th on, 1 <= k <= n.
        device: where the upstream runs.
        progress: print a line every few seconds.

    Returns:
        Statistics of the sites and of the level.

    Raises:
        FeatnormError: an unreadable or silent utterance, or a shard with no utterance.
    """
    index, shards = shard
    keys = _shard_keys(entries, index, shards)
    if device != "cpu" and not torch.cuda.is_available():
        raise FeatnormError(f"--device {device}: torch finds no GPU here; cpu is wanted")
    upstream.to(device).eval()
    totals: dict[str, SiteStats] = {}
    spread: dict[str, SiteStats] = {}
    corpus = samples = 0
    started = told = time.monotonic()
    for done, key in enumerate(keys, start=1):
        wav = read_audio(entries[key], SAMPLE_RATE)
        try:
            found = _of_utterance(upstream, wav, sites, device)
        except FeatnormError as error:
            raise FeatnormError(f"utterance {key} ({entries[key]}): {error}") from error
        for site, value in found.items():
            totals[site] = totals[site].merge(value) if site in totals else value
            own = SiteStats.of(np.concatenate([value.mean, value.std])[None])
            spread[site] = spread[site].merge(own) if site in spread else own
        corpus += int(hashlib.sha256(key.encode() + wav.tobytes()).hexdigest(), 16)
        samples += len(wav)
        if progress and (time.monotonic() - told > 5 or done == len(keys)):
            told = time.monotonic()
            _tell(kind, index, shards, done, len(keys), samples, told - started)
    meta = {"kind": kind, **_origin(upstream), "corpus": f"{corpus % (1 << 256):064x}"}
    meta |= {"utterances": len(keys), "samples": samples}
    return FeatureStats(totals, meta, spread)


def _shard_keys(entries: Mapping[str, str], index: int, shards: int) -> list[str]:
    keys = list(islice(sorted(entries), index - 1, None, shards))
    if not keys:
        raise FeatnormError(f"shard {index} of {shards} has no utterance: take a smaller --nj")
    return keys


def _origin(upstream: Upstream) -> dict[str, Any]:
    """Return what the statistics' meta data says of the upstream."""
    return {
        "upstream": upstream.name,
        "identity": upstream.identity,
        "sample_rate": SAMPLE_RATE,
        "lowest_site": upstream.lowest_site,
        "versions": part_versions(),
    }


def warn_of_idle_sites(stats: FeatureStats) -> None:
    """Say in one line at which sites feature normalization can do nothing."""
    idle = [site for site in stats if site != LEVEL_SITE and not stats.acts(site)]
    if idle:
        print(
            f"note: at {', '.join(idle)} every utterance has the same mean and deviation already,"
            f" so FN is one fixed map there; the lowest site where it acts is"
            f" {stats.meta.get('lowest_site', 'a higher one')}",
            file=sys.stderr,
        )


def _of_utterance(
    upstream: Upstream, wav: FloatArray, sites: Sequence[str], device: str
) -> dict[str, SiteStats]:
    rms = float(np.sqrt(np.square(wav, dtype=np.float64).mean()))
    if rms == 0:
        raise FeatnormError("the utterance is silent: take it out of the training set")
    batch = torch.from_numpy(wav)[None].to(device)
    lengths = torch.tensor([len(wav)], device=device)
    found = {LEVEL_SITE: SiteStats.of(np.array([[20 * np.log10(rms)]]))}
    with torch.inference_mode():
        features, frames = upstream.extract(batch, lengths, sites, apply_norms=False)
    for site in sites:
        x = features[site][0, : int(frames[0])].double()
        mean = x.mean(dim=0)
        m2 = (x - mean).square().sum(dim=0)
        found[site] = SiteStats(len(x), mean.cpu().numpy(), m2.cpu().numpy())
    return found


def _tell(
    kind: str, index: int, shards: int, done: int, total: int, samples: int, seconds: float
) -> None:
    left = seconds / done * (total - done)
    rate = samples / SAMPLE_RATE / max(seconds, 1e-9)
    print(
        f"{kind} statistics, shard {index}/{shards}: {done}/{total} utterances,"
        f" {rate:.1f} times real time, {left:.0f} s left",
        file=sys.stderr,
        flush=True,
    )


def collect_shards(
    *,
    output: Path,
    wav_scp: Path,
    upstream: str,
    checkpoint: str | None,
    conf_dir: Path | None,
    norm_site: str,
    kind: str,
    seed: int,
    shards: Sequence[tuple[int, int]],
    device: str = "cpu",
) -> None:
    """Collect the given shards, a process each, and write their merged statistics.

    Args:
        output: the ``.npz`` to write.
        wav_scp: the utterances.
        upstream, checkpoint, conf_dir, seed: as ``load_upstream`` takes them.
        norm_site: sites, comma-separated.
        kind: ``clean`` or ``noisy``.
        shards: (k, n) each.
        device: where the upstream runs.
    """
    jobs = [
        (wav_scp, upstream, checkpoint, conf_dir, norm_site, kind, seed, shard, device)
        for shard in shards
    ]
    if len(jobs) == 1:
        parts = [_collect_job(jobs[0], output)]
    else:
        parts = parallel_map(_collect_job, jobs, len(jobs), f"{kind} statistics")
    merged = FeatureStats.merge_all(parts)
    merged.save(output)
    if len(shards) == shards[0][1]:
        warn_of_idle_sites(merged)


def merge_shards(paths: Sequence[Path], output: Path) -> None:
    """Merge what shards have written into ``output``.

    Raises:
        FeatnormError: a shard is missing or broken, or they do not belong together.
    """
    merged = FeatureStats.merge_all(FeatureStats.load(path) for path in paths)
    merged.save(output)
    warn_of_idle_sites(merged)


def _collect_job(job: tuple[Any, ...], before: Path | None = None) -> FeatureStats:
    """Collect one shard; ``before`` is taken instead when it holds the very same."""
    wav_scp, name, checkpoint, conf_dir, norm_site, kind, seed, shard, device = job
    if shard[1] > 1:
        torch.set_num_threads(1)
    model = load_upstream(name, checkpoint, seed=seed, conf_dir=conf_dir)
    sites = model.resolve_sites(norm_site)
    entries = read_scp(wav_scp)
    request = _request_hash(entries, [model.identity, sites, kind, shard])
    if before is not None and before.is_file():
        with suppress(FeatnormError):
            there = FeatureStats.load(before)
            if there.meta.get("request") == request:
                print(f"{before} is there already", file=sys.stderr)
                return there
    stats = collect(model, entries, sites, kind=kind, shard=shard, device=device)
    stats.meta["request"] = request
    return stats


def _request_hash(entries: Mapping[str, str], about: Any) -> str:
    """Return a hash of what is to be collected: files by size and time, and ``about``."""
    try:
        found = [(key, path, os.stat(path)) for key, path in sorted(entries.items())]
    except OSError as error:
        raise FeatnormError(f"no such audio file: {error.filename}: run stage 1") from error
    files = [(key, path, status.st_size, status.st_mtime_ns) for key, path, status in found]
    return hashlib.sha256(json.dumps([about, files]).encode()).hexdigest()
