"""One file over the network: resumed after cuts, checked, whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import http.client
import os
import socket
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from featnorm_se.errors import FeatnormError

TIMEOUT = 30.0  # seconds without a byte until the connection counts as cut
TRIES = 5  # in a row without a new byte
PAUSE = 2.0  # seconds between two tries
_BLOCK = 1 << 18
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
        digest: of the file, when known: ``sha256:<hex>`` or ``md5:<hex>``.
        mend: what the user can do where it cannot be had; ``None``: fetch it by hand.

    Raises:
        FeatnormError: it cannot be had, is another file or a web page, or cannot be written.
    """
    mend = mend or f"fetch it elsewhere and put it at {target}"
    check_url(url, mend)
    download = _Download(url, target, size, digest, mend)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        download.run()
    except OSError as error:
        raise download.failed(error.strerror or str(error)) from error


def check_url(url: str, mend: str) -> None:
    """Refuse an address that is not https; http is allowed on this machine.

    Raises:
        FeatnormError: it is another one; the message ends with ``mend``.
    """
    try:
        parts = urlsplit(url)
        safe = parts.scheme == "https" and bool(parts.hostname)
        near = parts.scheme == "http" and parts.hostname in _LOOPBACK
    except ValueError as error:
        raise FeatnormError(f"{url} is no address ({error}); {mend}") from error
    if not (safe or near):
        raise FeatnormError(f"{url} is not fetched: files come over https only; {mend}")


def _is_network(cause: BaseException | str) -> bool:
    """Whether trying again may help: not so when the disk is full or the folder closed."""
    return isinstance(
        cause, str | http.client.HTTPException | ConnectionError | TimeoutError
    ) or getattr(cause, "errno", None) in (errno.ENETUNREACH, errno.EHOSTUNREACH)


class _SafeRedirect(urllib.request.HTTPRedirectHandler):
    """Follows redirects to https only."""

    def __init__(self, mend: str) -> None:
        self.mend = mend

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Any:
        check_url(newurl, self.mend)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _Download:
    """One file under way: ``<target>.part`` with, beside it, the server's mark of its version."""

    def __init__(
        self, url: str, target: Path, size: int | None, digest: str | None, mend: str
    ) -> None:
        self.url, self.target, self.size = url, target, size
        self.digest, self.mend = digest, mend
        self.total: int | None = None
        self.bar: Any = None
        self.part = target.with_name(target.name + ".part")
        self.mark = target.with_name(target.name + ".part.version")
        handlers: list[Any] = [_SafeRedirect(mend)]
        if urlsplit(url).hostname in _LOOPBACK:
            handlers.append(urllib.request.ProxyHandler({}))
        self.open = urllib.request.build_opener(*handlers).open

    def failed(self, reason: str) -> FeatnormError:
        """Return the error to raise."""
        return FeatnormError(f"cannot fetch {self.url} ({reason}); {self.mend}")

    def run(self) -> None:
        """Fetch the file, going on after cuts; check it; give it its name."""
        print(f"fetching {self.url}\n      to {self.target}", file=sys.stderr, flush=True)
        try:
            self._until_whole()
        finally:
            if self.bar is not None:
                self.bar.close()
        self._check_digest()
        os.replace(self.part, self.target)
        self.mark.unlink(missing_ok=True)

    def _check_digest(self) -> None:
        if self.digest is None:
            return
        kind, _, wanted = self.digest.partition(":")
        with open(self.part, "rb") as handle:
            # An MD5, where a server publishes no better, guards against damage; TLS does the rest.
            found = hashlib.file_digest(handle, lambda: hashlib.new(kind, usedforsecurity=False))
        if found.hexdigest() != wanted:
            self._discard()
            name = {"sha256": "SHA-256"}.get(kind, kind.upper())
            raise self.failed(f"its {name} is {found.hexdigest()}, the official one is {wanted}")

    def _show(self, done: int) -> None:
        from tqdm import tqdm

        if self.bar is None:
            slow = 0.1 if sys.stderr.isatty() else 10.0
            self.bar = tqdm(unit="B", unit_scale=True, unit_divisor=1024, mininterval=slow)
        self.bar.total = self.total
        self.bar.update(done - self.bar.n)

    def _until_whole(self) -> None:
        failures = 0
        while True:
            before = self._have()
            try:
                if self._attempt():
                    return
                reason = "the connection was cut"
            except urllib.error.HTTPError as error:
                if error.code < 500 and error.code not in (408, 416, 429):
                    raise self.failed(f"HTTP {error.code}") from error
                if error.code == 416:  # what is here does not fit what is there
                    self._discard()
                reason = f"HTTP {error.code}"
            except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
                cause = getattr(error, "reason", None) or error
                reason = str(cause) or type(error).__name__
                if isinstance(cause, socket.gaierror) or not _is_network(cause):
                    raise self.failed(reason) from error
            failures = 0 if self._have() > before else failures + 1
            if failures >= TRIES:
                raise self.failed(reason)
            time.sleep(PAUSE)

    def _have(self) -> int:
        return self.part.stat().st_size if self.part.is_file() else 0

    def _discard(self) -> None:
        self.part.unlink(missing_ok=True)
        self.mark.unlink(missing_ok=True)

    def _attempt(self) -> bool:
        """One connection; True when the file is whole afterwards."""
        headers = {"User-Agent": "featnorm_se"}
        version = self.mark.read_text() if self.mark.is_file() else ""
        if self._have() and version:
            headers |= {"Range": f"bytes={self._have()}-", "If-Range": version}
        with self.open(urllib.request.Request(self.url, headers=headers), timeout=TIMEOUT) as reply:
            resumed = reply.status == 206
            begin = f"bytes {self._have()}-"
            if resumed and not reply.headers.get("Content-Range", "").startswith(begin):
                self._discard()
                return False
            self._check_reply(reply.headers, self._have() if resumed else 0)
            if not resumed:
                self.part.write_bytes(b"")
                etag = reply.headers.get("ETag", "")
                strong = etag if not etag.startswith("W/") else ""
                self.mark.write_text(strong or reply.headers.get("Last-Modified", ""))
            with open(self.part, "ab") as handle:
                while block := reply.read(_BLOCK):
                    handle.write(block)
                    self._show(handle.tell())
        whole = self.total if self.size is None else self.size
        if whole is None or self._have() == whole:
            self._check_kind()
            return True
        return False

    def _check_reply(self, headers: Any, begin: int) -> None:
        """Note the whole file's size; refuse a web page, and a file of another size."""
        if headers.get("Content-Type", "").startswith("text/html"):
            raise self.failed("the server answers with a web page")
        length = headers.get("Content-Length", "")
        self.total = int(length) + begin if length.isdecimal() else None
        if self.size is not None and self.total not in (None, self.size):
            self._discard()
            raise self.failed(f"the server's file has {self.total} bytes, not {self.size}")

    def _check_kind(self) -> None:
        with open(self.part, "rb") as handle:
            head = handle.read(64).lstrip()
        if not head or head.startswith(b"<"):
            self._discard()
            raise self.failed("what came is empty or a web page")
