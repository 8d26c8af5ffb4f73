"""How far two sets of features lie from each other."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]


def linear_cka(x: NDArray[Any], y: NDArray[Any]) -> float:
    """Linear centred kernel alignment of two views of the same frames.

    ::

        |Y'X|^2 / (|X'X| |Y'Y|)        (Frobenius norms, columns centred)

    Kornblith et al., "Similarity of neural network representations revisited", ICML 2019.

    Args:
        x: (T, D1).
        y: (T, D2).

    Returns:
        0 (nothing in common) to 1 (equal up to rotation and scale); NaN when one is constant.
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


def frechet_distance(x: NDArray[Any], y: NDArray[Any]) -> float:
    """Frechet distance of the Gaussians fitted to two sets of frames, (T1, D) and (T2, D).

    ::

        |m1 - m2|^2 + tr(C1 + C2 - 2 (C1^1/2 C2 C1^1/2)^1/2)

    Dowson and Landau, "The Frechet distance between multivariate normal distributions", 1982.
    """
    a, b = np.asarray(x, np.float64), np.asarray(y, np.float64)
    c1, c2 = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    values, vectors = np.linalg.eigh(np.atleast_2d(c1))
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    cross = np.linalg.eigvalsh(root @ np.atleast_2d(c2) @ root)
    spread = np.trace(np.atleast_2d(c1)) + np.trace(np.atleast_2d(c2))
    mean = np.square(a.mean(axis=0) - b.mean(axis=0)).sum()
    return float(mean + spread - 2 * np.sqrt(np.maximum(cross, 0)).sum())


def channel_gaps(clean: NDArray[Any], other: NDArray[Any]) -> tuple[Float64, Float64]:
    """Return each channel's gap in mean, in clean deviations, and log2 ratio of deviations.

    Args:
        clean: (T, D).
        other: (T', D).

    Returns:
        Two arrays (D,): ``(mean_o - mean_c) / std_c`` and ``log2(std_o / std_c)``.
    """
    std = np.maximum(clean.std(axis=0, dtype=np.float64), 1e-12)
    gap = (other.mean(axis=0, dtype=np.float64) - clean.mean(axis=0, dtype=np.float64)) / std
    ratio = np.log2(np.maximum(other.std(axis=0, dtype=np.float64), 1e-12) / std)
    return gap, ratio


def principal_plane(x: NDArray[Any], *others: NDArray[Any]) -> list[Float64]:
    """Project sets of frames on the two main directions of the first, (T, 2) each."""
    base = np.asarray(x, np.float64)
    mean = base.mean(axis=0)
    _, _, directions = np.linalg.svd(base - mean, full_matrices=False)
    plane = directions[:2].T
    return [(np.asarray(part, np.float64) - mean) @ plane for part in (base, *others)]
