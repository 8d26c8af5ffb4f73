"""A server on this machine that cuts, lies and counts: for all that is fetched."""

import hashlib
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import save_tiny

COMMIT = "0123456789" * 4

sys.path.insert(0, str(Path(__file__).parents[1] / "egs" / "TEMPLATE" / "enh1" / "local"))


class Server(ThreadingHTTPServer):
    """Serves ``files`` by path, as the Hugging Face hub does, or any plain server.

    ``behave`` is how badly: status, cut (so many bytes come over a connection), damage.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.behave: dict[str, Any] = {}
        self.requests: list[tuple[str, str, str | None]] = []  # method, path, range
        self.address = f"http://127.0.0.1:{self.server_port}"

    def add_repository(self, name: str, files: dict[str, bytes]) -> None:
        """Hold a repository, at ``main`` and at its commit."""
        for revision in ("main", COMMIT):
            self.files |= {f"/{name}/resolve/{revision}/{k}": v for k, v in files.items()}

    @property
    def ranges(self) -> list[str | None]:
        """The ranges that were got, in their order."""
        return [asked for method, _, asked in self.requests if method == "GET"]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        behave, asked = self.server.behave, self.headers.get("Range")
        if not self.path.startswith("/api/"):  # the library's own questions
            self.server.requests.append((self.command, self.path, asked))
        body = self.server.files.get(self.path)
        begin = int(asked.removeprefix("bytes=").split("-")[0]) if asked and body else 0
        status = 404 if body is None else 416 if begin >= len(body) else 206 if begin else 200
        status = behave.get("status", status)
        told = {"X-Repo-Commit": COMMIT}
        if status >= 400 or body is None:
            told |= {"X-Error-Code": "EntryNotFound", "Content-Length": "0"}
        else:
            # Of large files the hub tells the SHA-256.
            digest = hashlib.sha256(body).hexdigest()
            told["ETag"] = f'"{digest if len(body) > 10_000 else digest[:40]}"'
            told["Content-Length"] = str(len(body) - begin)
            if begin:
                told["Content-Range"] = f"bytes {begin}-{len(body) - 1}/{len(body)}"
        self.send_response(status)
        for name, value in told.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET" and status < 400 and body is not None:
            body = bytes(len(body)) if behave.get("damage") else body
            self.wfile.write(body[begin:][: behave.get("cut")])

    do_GET = do_HEAD


@pytest.fixture
def server() -> Iterator[Server]:
    """A running server."""
    running = Server()
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield running
    running.shutdown()
    running.server_close()
    thread.join()


@pytest.fixture
def hub(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The server on this machine as the hub, with an empty cache and an empty home."""
    from huggingface_hub import constants

    address = "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.address + address)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return server


@pytest.fixture(scope="session")
def tiny_experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An experiment's folder with random weights."""
    return save_tiny(tmp_path_factory.mktemp("exp") / "tiny")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Two test workers with a thread each: more would only slow each other down."""
    torch.set_num_threads(1)
