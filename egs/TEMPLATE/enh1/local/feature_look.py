"""Stage 5's look inside a model: noisy against clean features, and drift by fine-tuning."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from featnorm_se.collection import without_silence
from featnorm_se.data.audio import read_audio
from featnorm_se.data.scp import read_scp
from featnorm_se.errors import FeatnormError
from featnorm_se.files import csv_text, write_text
from featnorm_se.inference.enhancer import Enhancer
from featnorm_se.names import SAMPLE_RATE
from featnorm_se.training.initial import load_start
from featnorm_se.upstream.base import Upstream

Frames = NDArray[np.float32]
Float64 = NDArray[np.float64]
MOST_FRAMES = 20000  # of a site that are looked at


@dataclass
class FeatureLook:
    """What was found of one experiment.

    Attributes:
        distance: a row a site: noisy against clean, before and after the norm.
        drift: a row a layer: fine-tuned against pre-trained, on clean speech.
        frames: clean, noisy and normalized frames (T, D) by site.
    """

    distance: list[dict[str, Any]] = field(default_factory=list)
    drift: list[dict[str, Any]] = field(default_factory=list)
    frames: dict[str, dict[str, Frames]] = field(default_factory=dict)


def look_at_features(
    expdir: Path, record: Mapping[str, Any], datadir: Path, utterances: int
) -> FeatureLook:
    """Measure one experiment's features on the first utterances of a data directory.

    Noisy and clean features are those of the upstream before fine-tuning, as the statistics
    are, and the normalized ones those of FN in it, at its sites and above; the drift compares it
    with the fine-tuned one, normalization off.

    Args:
        expdir, record: a trained experiment, and its ``run.json``.
        datadir: a data directory with ``wav.scp`` and ``spk1.scp``; validation, not test.
        utterances: how many are looked at.

    Raises:
        FeatnormError: the upstream it started from, or the data, cannot be had.
    """
    separator = Enhancer.from_pretrained(expdir).separator
    tuned, learnt = separator.upstream, {}
    if separator.weighted_sum is not None:
        weights = separator.weighted_sum.weight.softmax(dim=0).tolist()
        learnt = dict(zip(separator.feature_sites, weights, strict=True))
    before = starting_point(record)
    before.eval()
    noisy_scp, clean_scp = read_scp(datadir / "wav.scp"), read_scp(datadir / "spk1.scp")
    keys = sorted(noisy_scp)[:utterances]
    # Without silence, as the statistics are and as the model has its input.
    clean_wavs, noisy_wavs = (
        [without_silence(read_audio(scp[key], SAMPLE_RATE), key) for key in keys]
        for scp in (clean_scp, noisy_scp)
    )
    clean, noisy = features(before, clean_wavs), features(before, noisy_wavs)
    after = features(tuned, clean_wavs)
    before.norms.update(dict(tuned.norms.items()))
    normalized = features(before, noisy_wavs, apply_norms=True) if before.norms else {}
    look = FeatureLook()
    reached = False
    for site in before.sites:
        others = {"noisy": noisy[site]}
        reached = reached or site.replace(".", "_") in before.norms
        if reached:
            others["normalized"] = normalized[site]
        x, y = clean[site], after[site]
        look.frames[site] = {"clean": x, **others}
        for name, other in others.items():
            gap, ratio = (float(np.abs(part).mean()) for part in channel_gaps(x, other))
            row = {"site": site, "features": name, "mean_gap": gap, "std_log2_ratio": ratio}
            look.distance.append(row)
        drift = {"layer": site, "cka": linear_cka(x, y), "cosine": mean_cosine(x, y)}
        look.drift.append(drift | ({"weight": learnt.get(site, 0.0)} if learnt else {}))
    return look


def starting_point(record: Mapping[str, Any]) -> Upstream:
    """Load the upstream that an experiment started from, by its ``run.json``.

    Raises:
        FeatnormError: it cannot be had, or is another one now.
    """
    cards = (record.get("config") or {}).get("upstream_conf_dir")
    upstream, _ = load_start(
        record["upstream"],
        record.get("upstream_ckpt"),
        int(record.get("seed", 0)),
        Path(cards) if cards else None,
        Path(record["init"]["model"]) if record.get("init") else None,
    )
    if upstream.identity != record.get("upstream_identity"):
        fault = f"the experiment started from {record.get('upstream_identity')}, the upstream"
        raise FeatnormError(f"{fault} {record['upstream']} is {upstream.identity} now")
    return upstream


@torch.inference_mode()
def features(
    upstream: Upstream, wavs: Sequence[torch.Tensor], apply_norms: bool = False
) -> dict[str, Frames]:
    """Return the frames (T, D) of all waves (N,) by site, thinned; plain ones by default."""
    sites = list(upstream.sites)
    found: list[dict[str, torch.Tensor]] = []
    for wav in wavs:
        length = torch.tensor([len(wav)])
        found.append(upstream.extract(wav[None], length, sites, apply_norms=apply_norms)[0])
    joined = {site: np.concatenate([kept[site][0].numpy() for kept in found]) for site in sites}
    return {site: x[:: -(-len(x) // MOST_FRAMES)] for site, x in joined.items()}


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows of equal keys as CSV, whole or not at all."""
    values = ([f"{v:.6g}" if isinstance(v, float) else v for v in row.values()] for row in rows)
    write_text(path, csv_text([rows[0], *values]))


def linear_cka(x: NDArray[Any], y: NDArray[Any]) -> float:
    """Linear centred kernel alignment of two views of the same frames, (T, D1) and (T, D2).

    |Y'X|^2 / (|X'X| |Y'Y|), Frobenius norms, columns centred: Kornblith et al., "Similarity of
    neural network representations revisited", ICML 2019. From 0 (nothing in common) to 1 (equal
    up to rotation and scale); NaN when one is constant.
    """
    a = np.asarray(x, np.float64) - np.mean(x, axis=0, dtype=np.float64)
    b = np.asarray(y, np.float64) - np.mean(y, axis=0, dtype=np.float64)
    norms = np.linalg.norm(a.T @ a) * np.linalg.norm(b.T @ b)
    return float(np.linalg.norm(b.T @ a) ** 2 / norms) if norms > 0 else float("nan")


def mean_cosine(x: NDArray[Any], y: NDArray[Any]) -> float:
    """Mean cosine of paired frames, x and y (T, D); frames of zeros are left out."""
    a, b = np.asarray(x, np.float64), np.asarray(y, np.float64)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    kept = norms > 0
    return float(((a * b).sum(axis=1)[kept] / norms[kept]).mean()) if kept.any() else float("nan")


def channel_gaps(clean: NDArray[Any], other: NDArray[Any]) -> tuple[Float64, Float64]:
    """Compare the channels of two sets of frames, (T, D) and (T', D).

    Returns:
        Two arrays (D,): ``(mean_o - mean_c) / std_c`` and ``log2(std_o / std_c)``.
    """
    std = np.maximum(clean.std(axis=0, dtype=np.float64), 1e-12)
    gap = (other.mean(axis=0, dtype=np.float64) - clean.mean(axis=0, dtype=np.float64)) / std
    return gap, np.log2(np.maximum(other.std(axis=0, dtype=np.float64), 1e-12) / std)


def principal_plane(x: NDArray[Any], *others: NDArray[Any]) -> list[Float64]:
    """Project sets of frames on the two main directions of the first, (T, 2) each."""
    base = np.asarray(x, np.float64)
    mean = base.mean(axis=0)
    _, _, directions = np.linalg.svd(base - mean, full_matrices=False)
    return [(np.asarray(part, np.float64) - mean) @ directions[:2].T for part in (base, *others)]
