"""One file over the network: resumed after cuts, checked, whole or not at all."""

from __future__ import annotations

import hashlib
import http.client
import os
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from featnorm_se.errors import FeatnormError
from featnorm_se.progress import progress

TIMEOUT = 30.0  # seconds without a byte until the connection counts as cut
TRIES = 5  # in a row without a new byte
PAUSE = 2.0  # seconds between two tries
_BLOCK = 1 << 20
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
        digest: of the file, when known: ``sha256:<hex>`` or another of hashlib's.
        mend: what the user can do where it cannot be had; ``None``: fetch it by hand.

    Raises:
        FeatnormError: it cannot be had, is another file or a web page, or cannot be written.
    """
    mend = mend or f"fetch it elsewhere and put it at {target}"
    check_url(url, mend)
    print(f"fetching {url}\n      to {target}", file=sys.stderr, flush=True)
    part = _Part(url, target, size, mend)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        part.fetch()
        kind, _, wanted = (digest or "").partition(":")
        if wanted and (found := _digest(part.path, kind)) != wanted:
            part.discard()
            raise OSError(f"its {kind} is {found}, the official one is {wanted}")
        os.replace(part.path, target)
        part.mark.unlink(missing_ok=True)
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "strerror", None) or error
        raise FeatnormError(f"cannot fetch {url} ({reason}); {mend}") from error


def _digest(path: Path, kind: str) -> str:
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, kind).hexdigest()


def check_url(url: str, mend: str) -> None:
    """Refuse an address that is not https; http is allowed on this machine.

    Raises:
        FeatnormError: it is another one; the message ends with ``mend``.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise FeatnormError(f"{url} is no address ({error}); {mend}") from error
    near = parts.scheme == "http" and parts.hostname in _LOOPBACK
    if not near and not (parts.scheme == "https" and parts.hostname):
        raise FeatnormError(f"{url} is not fetched: files come over https only; {mend}")


class _SafeRedirect(urllib.request.HTTPRedirectHandler):
    """Follows redirects to https only."""

    def __init__(self, mend: str) -> None:
        self.mend = mend

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Any:
        check_url(newurl, self.mend)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _Part:
    """What has come of a file, ``<target>.part``, and the server's mark of its version."""

    def __init__(self, url: str, target: Path, size: int | None, mend: str) -> None:
        self.url, self.size = url, size
        self.path = target.with_name(target.name + ".part")
        self.mark = target.with_name(target.name + ".part.version")
        handlers: list[Any] = [_SafeRedirect(mend)]
        if urlsplit(url).hostname in _LOOPBACK:
            handlers.append(urllib.request.ProxyHandler({}))
        self.open = urllib.request.build_opener(*handlers).open

    def fetch(self) -> None:
        """Connect until the file is whole; give up after ``TRIES`` without a new byte."""
        failures = 0
        while True:
            before = self._have()
            try:
                if self._attempt():
                    return
                raise ConnectionError("the connection was cut")
            except (OSError, http.client.HTTPException) as error:
                if getattr(error, "code", None) == 416:  # what is here does not fit what is there
                    self.discard()
                failures = 0 if self._have() > before else failures + 1
                if failures == TRIES or not _may_pass(error):
                    raise
            time.sleep(PAUSE)

    def discard(self) -> None:
        """Remove what has come: it is of another file."""
        self.path.unlink(missing_ok=True)
        self.mark.unlink(missing_ok=True)

    def _have(self) -> int:
        return self.path.stat().st_size if self.path.is_file() else 0

    def _attempt(self) -> bool:
        """Return whether the file is whole after one connection."""
        headers = {"User-Agent": "featnorm_se"}
        version = self.mark.read_text() if self.mark.is_file() else ""
        if self._have() and version:
            headers |= {"Range": f"bytes={self._have()}-", "If-Range": version}
        with self.open(urllib.request.Request(self.url, headers=headers), timeout=TIMEOUT) as reply:
            begin = self._have() if reply.status == 206 else 0
            if begin and not reply.headers.get("Content-Range", "").startswith(f"bytes {begin}-"):
                self.discard()
                return False
            if reply.headers.get("Content-Type", "").startswith("text/html"):
                raise OSError("the server answers with a web page")
            length = reply.headers.get("Content-Length", "")
            total = int(length) + begin if length.isdecimal() else self.size
            if self.size not in (None, total):
                raise OSError(f"the server's file has {total} bytes, not {self.size}")
            if not begin:
                self.path.write_bytes(b"")
                etag = reply.headers.get("ETag", "")
                strong = etag if not etag.startswith("W/") else ""
                self.mark.write_text(strong or reply.headers.get("Last-Modified", ""))
            blocks = iter(lambda: reply.read(_BLOCK), b"")
            count = None if total is None else -(-(total - begin) // _BLOCK)
            with open(self.path, "ab") as handle:
                for block in progress(blocks, self.path.stem, count, "MiB"):
                    handle.write(block)
        return total is None or self._have() == total


def _may_pass(error: Exception) -> bool:
    """Whether another try may help: not so where the file is refused or the disk is full."""
    if isinstance(error, urllib.error.HTTPError):
        return error.code >= 500 or error.code in (408, 416, 429)
    cause = getattr(error, "reason", error)
    return isinstance(cause, http.client.HTTPException | ConnectionError | TimeoutError)
