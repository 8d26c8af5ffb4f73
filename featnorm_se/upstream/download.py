"""Checkpoints by name, URL or path: fetched once, kept where s3prl keeps them."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from featnorm_se.errors import FeatnormError
from featnorm_se.fetch import check_url, fetch_file


def fetch(checkpoint: str | Path | None, card: Mapping[str, Any]) -> Path:
    """Return the local file of a checkpoint, fetching it when it is not there yet.

    Args:
        checkpoint: ``None`` for the card's own source; else a path or URL.
        card: the upstream's card; its ``sha256`` and ``bytes`` hold for its own source.

    Raises:
        FeatnormError: there is no such file, or it cannot be fetched; the message says which file
            to put where.
    """
    known = {key: card.get(key) for key in ("sha256", "bytes")} if checkpoint is None else {}
    where = str(checkpoint if checkpoint is not None else card.get("source"))
    if "://" in where:
        return fetch_url(where, known.get("sha256"), known.get("bytes"))
    path = Path(where).expanduser()
    if not path.is_file():
        raise FeatnormError(f"there is no checkpoint {path}; give a file, a URL or scratch")
    return path


def cache_path(url: str) -> Path:
    """Where the file of a URL is kept: the place and name that s3prl uses."""
    module = sys.modules.get("s3prl.util.download")  # its set_dir() may have moved the place
    folder = getattr(module, "_download_dir", Path.home() / ".cache" / "s3prl" / "download")
    return Path(folder) / f"{hashlib.sha256(url.encode()).hexdigest()}.{Path(url).name}"


def fetch_url(url: str, sha256: str | None = None, size: int | None = None) -> Path:
    """Return the kept file of a URL; one process fetches it, others that start then wait.

    Args:
        url: https, or http on this machine.
        sha256: of the file, when known.
        size: of the file in bytes, when known.

    Raises:
        FeatnormError: see ``fetch``.
    """
    from filelock import FileLock, Timeout

    target = cache_path(url)
    if target.is_file():
        return target
    mend = f"fetch it elsewhere and put it at {target}, or give its path as the checkpoint"
    check_url(url, mend)  # before anything is made for it
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(f"{target}.lock")
        try:
            held = lock.acquire(timeout=1.0)
        except Timeout:
            print(f"waiting for another process to fetch {url}", file=sys.stderr, flush=True)
            held = lock.acquire()
    except OSError as error:
        raise FeatnormError(f"cannot fetch {url} ({error.strerror or error}); {mend}") from error
    with held:
        if not target.is_file():
            digest = f"sha256:{sha256}" if sha256 else None
            fetch_file(url, target, size=size, digest=digest, mend=mend)
    return target
