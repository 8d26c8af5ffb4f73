"""A server on this machine that cuts, stalls, lies and counts: for all that is fetched."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import save_tiny

from featnorm_se import fetch

sys.path.insert(0, str(Path(__file__).parents[1] / "egs" / "TEMPLATE" / "enh1" / "local"))


class Server(ThreadingHTTPServer):
    """Serves ``data``; ``behave`` says how badly.

    Attributes:
        behave: delay, stall (seconds, flag), redirect, status, body, ranges, kind, etag, headers,
            and cut: so many bytes come over a connection.
        requests: the path and the range that each request asked for.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.data = os.urandom(700_000)
        self.behave: dict[str, Any] = {}
        self.requests: list[tuple[str, str | None]] = []
        self.address = f"http://127.0.0.1:{self.server_port}"
        self.url = f"{self.address}/model.pt"

    @property
    def ranges(self) -> list[str | None]:
        return [asked for _, asked in self.requests]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        behave = self.server.behave
        asked = self.headers.get("Range")
        self.server.requests.append((self.path, asked))
        time.sleep(float(behave.get("delay", 0)))
        if "redirect" in behave:
            self.send_response(302)
            self.send_header("Location", behave["redirect"])
            self.end_headers()
            return
        if "status" in behave:
            self.send_error(behave["status"])
            return
        body = behave.get("body", self.server.data)
        begin = 0
        if asked and behave.get("ranges", True) and self.headers.get("If-Range") == '"v1"':
            begin = int(asked.removeprefix("bytes=").rstrip("-"))
        told = {
            "Content-Range": f"bytes {begin}-{len(body) - 1}/{len(body)}" if begin else None,
            "Content-Type": behave.get("kind", "application/octet-stream"),
            "Content-Length": str(len(body) - begin),
            "ETag": behave.get("etag", '"v1"'),
            **behave.get("headers", {}),
        }
        self.send_response(206 if begin else 200)
        for name, value in told.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[begin:][: behave.get("cut")])
        if behave.get("stall"):
            self.wfile.flush()
            time.sleep(3)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A running server, and no waiting between tries."""
    monkeypatch.setattr(fetch, "PAUSE", 0.01)
    running = Server()
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield running
    running.shutdown()
    running.server_close()
    thread.join()


@pytest.fixture(scope="session")
def tiny_experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An experiment's folder with random weights."""
    return save_tiny(tmp_path_factory.mktemp("exp") / "tiny")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Two test workers with a thread each: more would only slow each other down."""
    torch.set_num_threads(1)
