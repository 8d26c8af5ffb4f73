"""Checkpoints by name, URL or path: fetched whole or not at all, kept where s3prl keeps them."""

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
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from featnorm_se.errors import FeatnormError
from featnorm_se.files import sha256_file

TIMEOUT = 30.0  # seconds without a byte until the connection counts as cut
TRIES = 5  # in a row without a new byte
PAUSE = 2.0  # seconds between two tries
_BLOCK = 1 << 18
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


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
    _check_url(url)  # before anything is made for it
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(f"{target}.lock")
        try:
            held = lock.acquire(timeout=1.0)
        except Timeout:
            print(f"waiting for another process to fetch {url}", file=sys.stderr, flush=True)
            held = lock.acquire()
        with held:
            if not target.is_file():
                fetch_to(url, target, size, sha256)
    except OSError as error:
        reason = getattr(error, "reason", None) or error.strerror or error
        raise _failed(url, target, str(reason)) from error
    return target


def fetch_to(url: str, target: Path, size: int | None = None, sha256: str | None = None) -> None:
    """Fetch a URL into ``target``, whole or not at all, going on where a cut left off.

    Args:
        url: https, or http on this machine.
        target: the file; what is there is replaced.
        size: of the file in bytes, when known.
        sha256: of the file, when known.

    Raises:
        FeatnormError: it cannot be had, or is another file; the message says where to put it.
    """
    _check_url(url)
    _Download(url, target, size).run(sha256)


def _failed(url: str, target: Path, reason: str) -> FeatnormError:
    return FeatnormError(
        f"cannot fetch {url} ({reason}); fetch it elsewhere and put it at {target}, or give its"
        " path as the checkpoint"
    )


def _check_url(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        raise FeatnormError(f"{url} is not fetched: checkpoints come over https only")


def _is_network(cause: BaseException | str) -> bool:
    """Whether trying again may help: not so when the disk is full or the folder closed."""
    return isinstance(
        cause, str | http.client.HTTPException | ConnectionError | TimeoutError
    ) or getattr(cause, "errno", None) in (errno.ENETUNREACH, errno.EHOSTUNREACH)


class _SafeRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Any:
        _check_url(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _Download:
    """One file under way: ``<target>.part`` with, beside it, the server's mark of its version."""

    def __init__(self, url: str, target: Path, size: int | None) -> None:
        self.url, self.target, self.size = url, target, size
        self.total: int | None = None
        self.bar: Any = None
        self.part = target.with_name(target.name + ".part")
        self.mark = target.with_name(target.name + ".part.version")
        handlers: list[Any] = [_SafeRedirect]
        if urlsplit(url).hostname in _LOOPBACK:
            handlers.append(urllib.request.ProxyHandler({}))
        self.open = urllib.request.build_opener(*handlers).open

    def run(self, sha256: str | None) -> None:
        """Fetch the file, going on after cuts; check it; give it its name."""
        print(f"fetching {self.url}\n      to {self.target}", file=sys.stderr, flush=True)
        try:
            self._until_whole()
        finally:
            if self.bar is not None:
                self.bar.close()
        if sha256 is not None and sha256_file(self.part) != sha256:
            self._discard()
            raise _failed(self.url, self.target, "its SHA-256 is not the official one")
        os.replace(self.part, self.target)
        self.mark.unlink(missing_ok=True)

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
                    raise _failed(self.url, self.target, f"HTTP {error.code}") from error
                if error.code == 416:  # what is here does not fit what is there
                    self._discard()
                reason = f"HTTP {error.code}"
            except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
                cause = getattr(error, "reason", None) or error
                reason = str(cause) or type(error).__name__
                if isinstance(cause, socket.gaierror) or not _is_network(cause):
                    raise _failed(self.url, self.target, reason) from error
            failures = 0 if self._have() > before else failures + 1
            if failures >= TRIES:
                raise _failed(self.url, self.target, reason)
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
            begin = f"bytes {self._have()}-"
            resumed = reply.status == 206 and reply.headers["Content-Range"].startswith(begin)
            if reply.status == 206 and not resumed:
                self._discard()
                return False
            kind = reply.headers.get("Content-Type", "")
            if kind.startswith("text/html"):
                raise _failed(self.url, self.target, "the server answers with a web page")
            length = reply.headers.get("Content-Length")
            self.total = int(length) + (self._have() if resumed else 0) if length else None
            if self.size is not None and self.total not in (None, self.size):
                self._discard()
                reason = f"the server's file has {self.total} bytes, not {self.size}"
                raise _failed(self.url, self.target, reason)
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

    def _check_kind(self) -> None:
        with open(self.part, "rb") as handle:
            head = handle.read(64).lstrip()
        if not head or head.startswith(b"<"):
            self._discard()
            raise _failed(self.url, self.target, "what came is empty or a web page")
