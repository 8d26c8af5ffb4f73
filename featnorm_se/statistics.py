"""Feature statistics: accumulated in float64, merged exactly, saved with their origin."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featnorm_se.errors import FeatnormError
from featnorm_se.files import PathLike, atomic_path
from featnorm_se.names import SAMPLE_RATE

Float64 = NDArray[np.float64]
FORMAT = 1
_MUST_MATCH = ("kind", "upstream", "identity", "sample_rate")


@dataclass(frozen=True, eq=False)
class SiteStats:
    """Statistics of D channels over some frames.

    Attributes:
        frames: number of frames seen.
        mean: mean of each channel, (D,) float64.
        m2: sum of squared deviations from the mean, (D,) float64.
    """

    frames: int
    mean: Float64
    m2: Float64

    @property
    def width(self) -> int:
        """Number of channels D."""
        return int(self.mean.shape[0])

    @property
    def std(self) -> Float64:
        """Standard deviation of each channel over all frames (divided by their number), (D,)."""
        return np.sqrt(self.m2 / max(self.frames, 1))

    @classmethod
    def of(cls, features: NDArray[Any]) -> SiteStats:
        """Return the statistics of features (T, D), computed in float64."""
        x = np.asarray(features, dtype=np.float64)
        if x.ndim != 2 or not np.isfinite(x).all():
            raise FeatnormError(f"features (T, D) without NaN are wanted: the shape is {x.shape}")
        mean = x.mean(axis=0) if len(x) else np.zeros(x.shape[1])
        return cls(len(x), mean, np.square(x - mean).sum(axis=0))

    def merge(self, other: SiteStats) -> SiteStats:
        """Return the statistics of both sets of frames together.

        The formula is the parallel one of Chan, Golub and LeVeque, "Updating formulae and a
        pairwise algorithm for computing sample variances", 1979.
        """
        if self.width != other.width:
            raise FeatnormError(f"cannot merge widths {self.width} and {other.width}")
        frames = self.frames + other.frames
        if not frames:
            return self
        delta = other.mean - self.mean
        mean = self.mean + delta * (other.frames / frames)
        m2 = self.m2 + other.m2 + delta**2 * (self.frames * other.frames / frames)
        return SiteStats(frames, mean, m2)


@dataclass(eq=False)
class FeatureStats:
    """Statistics by site, with what they were made from.

    ``stats["frontend"].mean`` and ``.std`` are (D,) float64, ``.frames`` is their number.

    Attributes:
        sites: the statistics by site.
        meta: what they were made from: ``kind`` (clean or noisy), ``upstream``, ``identity``
            (of its weights), ``sample_rate`` in Hz, ``corpus`` (a sum of utterance hashes),
            ``utterances``, ``samples``, ``versions``.
    """

    sites: Mapping[str, SiteStats]
    meta: dict[str, Any]

    def __getitem__(self, site: str) -> SiteStats:
        if site not in self.sites:
            raise FeatnormError(
                f"no statistics for the site {site!r}, only for {', '.join(self.sites)}:"
                " take one of these names, or run stage 2 with another --norm_site"
            )
        return self.sites[site]

    def __repr__(self) -> str:
        sites = [f"{site} {value.width} x {value.frames:,}" for site, value in self.sites.items()]
        what = f"{self.meta.get('kind')}, {self.meta.get('upstream')}"
        return f"FeatureStats({what}; channels x frames: {', '.join(sites)})"

    def merge(self, other: FeatureStats) -> FeatureStats:
        """Return the statistics of two disjoint parts of one corpus.

        Raises:
            FeatnormError: they come from different upstreams, weights, rates or sites.
        """
        mine, theirs = ({**part.meta, "sites": list(part.sites)} for part in (self, other))
        for key in (*_MUST_MATCH, "sites"):
            if (a := mine.get(key)) != (b := theirs.get(key)):
                raise FeatnormError(f"cannot merge statistics of {key} {a!r} and {b!r}")
        sites = {site: value.merge(other[site]) for site, value in self.sites.items()}
        meta = {key: value for key, value in self.meta.items() if key != "shard"}
        for key in ("utterances", "samples"):
            meta[key] = int(meta.get(key, 0)) + int(other.meta.get(key, 0))
        total = int(self.meta.get("corpus", "0"), 16) + int(other.meta.get("corpus", "0"), 16)
        meta["corpus"] = f"{total % (1 << 256):064x}"
        return FeatureStats(sites, meta)

    def save(self, path: PathLike) -> None:
        """Write one ``.npz`` with all sites and the meta data, whole or not at all."""
        arrays: dict[str, Any] = {}
        for site, stats in self.sites.items():
            arrays |= {f"{site}/{key}": value for key, value in vars(stats).items()}
        meta = {**self.meta, "format": FORMAT, "sites": list(self.sites)}
        arrays["meta"] = json.dumps(meta, sort_keys=True)
        with atomic_path(path) as temporary, open(temporary, "wb") as handle:
            np.savez(handle, allow_pickle=False, **arrays)

    @classmethod
    def load(cls, path: PathLike) -> FeatureStats:
        """Read what ``save`` wrote. Only plain arrays are read: no code in the file is run.

        Raises:
            FeatnormError: the file is missing, no statistics file, cut short, or holds values
                that cannot be (NaN, negative, widths that differ).
        """
        if not os.path.isfile(path):
            raise FeatnormError(f"no statistics at {path}: run stage 2 first")
        try:
            if not zipfile.is_zipfile(path):
                raise ValueError("an .npz that stage 2 wrote is wanted")
            with np.load(path, allow_pickle=False) as archive:
                arrays = dict(archive)
            meta = json.loads(str(arrays["meta"]))
            if meta["format"] != FORMAT:
                raise ValueError(f"it is of format {meta['format']}, {FORMAT} is read here")
            sites = {site: _read_site(arrays, site) for site in meta["sites"]}
        except Exception as error:  # numpy, zipfile, zlib and json raise their own here
            reason = " ".join(str(error).split())[:300]
            raise FeatnormError(f"{path} is no whole statistics file: {reason}") from error
        return cls(sites, meta)

    def check(self, source: str, *, identity: str, sites: Mapping[str, int], kind: str) -> None:
        """Refuse statistics that were made from something else.

        Args:
            source: where they are from, for the message.
            identity: the upstream's weights, as ``Upstream.identity``.
            sites: the widths of the sites that are wanted.
            kind: ``clean`` or ``noisy``.

        Raises:
            FeatnormError: with both values.
        """
        if (shard := self.meta.get("shard", [1, 1]))[1] > 1:
            raise FeatnormError(f"{source} is of one shard, {shard}: put them together by --merge")
        wanted: dict[str, Any] = {"kind": kind, "identity": identity, "sample_rate": SAMPLE_RATE}
        found = {key: self.meta.get(key) for key in wanted}
        for site, width in sites.items():
            wanted[f"the width of {site}"], found[f"the width of {site}"] = width, self[site].width
        for key, value in wanted.items():
            if found[key] != value:
                fault = f"{source}: the statistics have {key} {found[key]!r}, this run {value!r}"
                raise FeatnormError(f"{fault}: run stage 2 again")


def _read_site(arrays: Mapping[str, NDArray[Any]], site: str) -> SiteStats:
    frames = int(arrays[f"{site}/frames"])
    mean = arrays[f"{site}/mean"].astype(np.float64)
    m2 = arrays[f"{site}/m2"].astype(np.float64)
    if mean.ndim != 1 or mean.shape != m2.shape or not mean.size or frames < 1:
        raise ValueError(f"the site {site} has {frames} frames, shapes {mean.shape} and {m2.shape}")
    if not (np.isfinite(mean).all() and np.isfinite(m2).all() and (m2 >= 0).all()):
        raise ValueError(f"the site {site} holds values that cannot be")
    return SiteStats(frames, mean, m2)
