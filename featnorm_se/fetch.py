"""One file over the network: resumed after cuts, checked, whole or not at all."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests

from featnorm_se.errors import FeatnormError
from featnorm_se.files import sha256_file
from featnorm_se.progress import progress

TIMEOUT = 30.0  # seconds without a byte until the connection counts as cut
TRIES = 5  # in a row without a new byte
PAUSE = 2.0  # seconds between two tries
_BLOCK = 1 << 16
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def fetch_file(
    url: str,
    target: Path,
    *,
    size: int | None = None,
    digest: str | None = None,
    mend: str | None = None,
) -> None:
    """Fetch a URL into ``target``, going on where an earlier call was cut.

    What has come so far is in ``<target>.part``; the name ``target`` is given to it only when it
    is whole and is what was wanted. Progress goes to stderr.

    Args:
        url: https, or http on this machine.
        target: the file; what is there is replaced.
        size: of the file in bytes, when known.
        digest: ``sha256:<hex>`` of the file, when known.
        mend: what the user can do where it cannot be had; ``None``: fetch it by hand.

    Raises:
        FeatnormError: it cannot be had, is another file or a web page, or cannot be written.
    """
    part, version = (target.with_name(target.name + end) for end in (".part", ".part.version"))
    print(f"fetching {url}\n      to {target}", file=sys.stderr, flush=True)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _fetch_part(url, part, version, size)
        if digest and (found := f"sha256:{sha256_file(part)}") != digest:
            part.unlink()
            version.unlink()
            raise OSError(f"its SHA-256 is {found[7:]}, the official one is {digest[7:]}")
        os.replace(part, target)
        version.unlink()
    except (OSError, ValueError) as error:  # requests' errors are of these two
        reason = getattr(error, "strerror", None) or error
        mend = mend or f"fetch it elsewhere and put it at {target}"
        raise FeatnormError(f"cannot fetch {url} ({reason}); {mend}") from error


class _Session(requests.Session):
    """Goes to https only, or to http on this machine; so does every redirect."""

    def get_adapter(self, url: Any) -> Any:
        parts = urlsplit(url)
        near = parts.scheme == "http" and parts.hostname in _LOOPBACK
        if parts.scheme != "https" and not near:
            raise OSError(f"{url} is not asked: files come over https only")
        return super().get_adapter(url)


def _fetch_part(url: str, part: Path, version: Path, size: int | None) -> None:
    """Connect until ``part`` is whole; give up after ``TRIES`` without a new byte."""
    failures = 0
    while failures < TRIES:
        if failures:
            time.sleep(PAUSE)
        before, reason = _size(part), "the connection was cut"
        try:
            with _Session() as session:
                if _attempt(session, url, part, version, size):
                    return
        except requests.exceptions.ChunkedEncodingError:
            pass
        except (requests.ConnectionError, requests.Timeout) as error:
            reason = str(error)
        failures = failures + 1 if _size(part) <= before else 0
    raise OSError(reason)


def _attempt(
    session: requests.Session, url: str, part: Path, version: Path, size: int | None
) -> bool:
    """Return whether the file is whole after one connection; ``version`` is the server's mark."""
    # What is compressed on the way has no place to go on from.
    headers = {"User-Agent": "featnorm_se", "Accept-Encoding": "identity"}
    mark = version.read_text() if version.is_file() else ""
    if mark and _size(part):
        headers |= {"Range": f"bytes={_size(part)}-", "If-Range": mark}
    with session.get(url, headers=headers, timeout=TIMEOUT, stream=True) as reply:
        code, about = reply.status_code, reply.headers
        begin = _size(part) if code == 206 else 0
        fits = about.get("Content-Range", "").startswith(f"bytes {begin}-")
        if code == 416 or (begin and not fits):
            part.unlink(missing_ok=True)  # what is here is of another file than what is there
            return False
        if code >= 400:
            passing = code >= 500 or code in (408, 429)
            raise (requests.ConnectionError if passing else OSError)(f"HTTP {code}")
        if about.get("Content-Type", "").startswith("text/html"):
            raise OSError("the server answers with a web page")
        length = about.get("Content-Length", "")
        total = int(length) + begin if length.isdecimal() else size
        if size not in (None, total):
            raise OSError(f"the server's file has {total} bytes, not {size}")
        if not begin:
            etag = about.get("ETag", "")
            version.write_text(about.get("Last-Modified", "") if etag[:2] in ("", "W/") else etag)
        count = None if total is None else -(-(total - begin) // _BLOCK)
        with open(part, "ab" if begin else "wb") as handle:
            for block in progress(reply.iter_content(_BLOCK), part.stem, count, " x 64 KiB"):
                handle.write(block)
    return total is None or _size(part) == total


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
