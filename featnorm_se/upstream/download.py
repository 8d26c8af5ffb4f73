"""Checkpoints by name, URL or path: fetched once, kept where s3prl keeps them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from featnorm_se.errors import FeatnormError
from featnorm_se.fetch import fetch_file
from featnorm_se.files import locked


def fetch(checkpoint: str | Path | None, card: Mapping[str, Any]) -> Path:
    """Return the local file of a checkpoint, fetching it when it is not there yet.

    Args:
        checkpoint: ``None`` for the card's own source; else a path or URL.
        card: the upstream's card; its ``sha256`` and ``bytes`` hold for its own source.

    Raises:
        FeatnormError: there is no such file, or it cannot be fetched; the message says which file
            to put where.
    """
    if checkpoint is None:
        return fetch_url(card["source"], card.get("sha256"), card.get("bytes"))
    if "://" in str(checkpoint):
        return fetch_url(str(checkpoint))
    path = Path(checkpoint).expanduser()
    if not path.is_file():
        raise FeatnormError(f"there is no checkpoint {path}; give a file, a URL or scratch")
    return path


def cache_path(url: str) -> Path:
    """Where the file of a URL is kept: the place and name that s3prl uses."""
    name = f"{hashlib.sha256(url.encode()).hexdigest()}.{Path(url).name}"
    return Path.home() / ".cache" / "s3prl" / "download" / name


def fetch_url(url: str, sha256: str | None = None, size: int | None = None) -> Path:
    """Return the kept file of a URL; one process fetches it, others that start then wait.

    Args:
        url: https, or http on this machine.
        sha256: of the file, when known.
        size: of the file in bytes, when known.

    Raises:
        FeatnormError: see ``fetch``.
    """
    target = cache_path(url)
    if not target.is_file():
        mend = f"fetch it elsewhere and put it at {target}, or give its path as the checkpoint"
        digest = f"sha256:{sha256}" if sha256 else None
        with locked(target, wait=True):
            if not target.is_file():
                fetch_file(url, target, size=size, digest=digest, mend=mend)
    return target
