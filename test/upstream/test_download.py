"""Downloads against a server on this machine that cuts, stalls, lies and counts."""

from __future__ import annotations

import hashlib
import importlib
import multiprocessing
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from featnorm_se.errors import FeatnormError
from featnorm_se.upstream import download, load_upstream

DATA = os.urandom(700_000)
SHA = hashlib.sha256(DATA).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves DATA; ``behave`` says how badly."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.behave: dict[str, object] = {}
        self.requests: list[str | None] = []
        self.url = f"http://127.0.0.1:{self.server_port}/model.pt"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        behave = self.server.behave
        asked = self.headers.get("Range")
        self.server.requests.append(asked)
        time.sleep(float(behave.get("delay", 0)))
        if "redirect" in behave:
            self.send_response(302)
            self.send_header("Location", str(behave["redirect"]))
            self.end_headers()
            return
        if "status" in behave:
            self.send_error(int(behave["status"]))
            return
        body = behave.get("body", DATA)
        begin = 0
        if asked and behave.get("ranges", True) and self.headers.get("If-Range") == '"v1"':
            begin = int(asked.removeprefix("bytes=").rstrip("-"))
        self.send_response(206 if begin else 200)
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Type", str(behave.get("kind", "application/octet-stream")))
        self.send_header("Content-Length", str(len(body) - begin))
        self.send_header("ETag", str(behave.get("etag", '"v1"')))
        self.end_headers()
        part = body[begin:]
        cut = behave.get("cut")  # bytes until the connection breaks
        self.wfile.write(part if cut is None else part[: int(cut)])
        if behave.get("stall"):
            self.wfile.flush()
            time.sleep(3)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A cache of the test's own, and no waiting."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setitem(sys.modules, "s3prl.util.download", None)
    monkeypatch.setattr(download, "PAUSE", 0.01)
    return tmp_path


@pytest.fixture
def server():
    running = Server()
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield running
    running.shutdown()
    running.server_close()
    thread.join()


def leftovers(path: Path) -> list[str]:
    return [p.name for p in path.parent.glob("*") if ".part" in p.name]


def test_fetched_whole_and_found_again(server, tmp_path, capsys):
    path = download.fetch_url(server.url, SHA, len(DATA))
    assert path.read_bytes() == DATA
    name = hashlib.sha256(server.url.encode()).hexdigest() + ".model.pt"
    assert path == tmp_path / ".cache" / "s3prl" / "download" / name
    assert leftovers(path) == []
    shown = capsys.readouterr().err
    assert server.url in shown and str(path) in shown and "100%" in shown
    server.behave["status"] = 500
    assert download.fetch_url(server.url) == path
    assert len(server.requests) == 1


def test_the_place_is_s3prls(server, monkeypatch, tmp_path):
    monkeypatch.delitem(sys.modules, "s3prl.util.download")
    theirs = importlib.import_module("s3prl.util.download")
    monkeypatch.setattr(theirs, "_download_dir", tmp_path / "moved")
    expected = theirs._urls_to_filepaths(server.url, download=False)
    assert str(download.cache_path(server.url)) == expected


def test_goes_on_after_cuts(server):
    server.behave["cut"] = 200_000
    assert download.fetch_url(server.url, SHA).read_bytes() == DATA
    assert server.requests == [None, "bytes=200000-", "bytes=400000-", "bytes=600000-"]


def test_goes_on_in_another_process_later(server):
    server.behave["cut"] = 0
    part = Path(str(download.cache_path(server.url)) + ".part")
    with pytest.raises(FeatnormError, match="cut"):
        download.fetch_url(server.url)
    part.write_bytes(DATA[:123_456])
    server.behave.clear()
    assert download.fetch_url(server.url, SHA).read_bytes() == DATA
    assert server.requests[-1] == "bytes=123456-"


def test_starts_over_when_the_file_there_changed(server):
    part = Path(str(download.cache_path(server.url)) + ".part")
    part.parent.mkdir(parents=True)
    part.write_bytes(b"of another version" * 1000)
    Path(f"{part}.version").write_text('"v0"')
    assert download.fetch_url(server.url).read_bytes() == DATA


def test_starts_over_without_ranges(server):
    server.behave.update(ranges=False, cut=200_000)
    with pytest.raises(FeatnormError, match="cut"):
        download.fetch_url(server.url)
    assert len(server.requests) == download.TRIES + 1
    server.behave.pop("cut")
    assert download.fetch_url(server.url).read_bytes() == DATA


def test_a_server_that_stalls(server, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT", 0.2)
    monkeypatch.setattr(download, "TRIES", 2)
    server.behave.update(cut=300_000, stall=True)
    path = download.fetch_url(server.url)
    assert path.read_bytes() == DATA and len(server.requests) == 3


@pytest.mark.parametrize(
    "behave,told",
    [
        ({"kind": "text/html; charset=utf-8"}, "web page"),
        ({"body": b"  <!doctype html><p>sign in"}, "web page"),
        ({"body": b""}, "empty"),
        ({"status": 404}, "HTTP 404"),
        ({"status": 403}, "HTTP 403"),
        ({"status": 503}, "HTTP 503"),
        ({"body": DATA[:-1]}, "699999 bytes, not 700000"),
        ({"redirect": "http://example.invalid/model.pt"}, "https only"),
    ],
)
def test_what_is_no_checkpoint_is_not_kept(server, behave, told):
    server.behave.update(behave)
    size = len(DATA) if "699999" in told else None
    with pytest.raises(FeatnormError, match=told) as caught:
        download.fetch_url(server.url, None, size)
    path = download.cache_path(server.url)
    if "https" not in told:
        assert str(path) in str(caught.value)  # which file to put where
    assert not path.exists() and "\n" not in str(caught.value)


def test_wrong_hash(server):
    with pytest.raises(FeatnormError, match="SHA-256"):
        download.fetch_url(server.url, "0" * 64)
    path = download.cache_path(server.url)
    assert not path.exists() and leftovers(path) == []


def test_no_network():
    url = "http://127.0.0.1:9/model.pt"  # nobody listens there
    with pytest.raises(FeatnormError) as caught:
        download.fetch_url(url)
    assert url in str(caught.value) and str(download.cache_path(url)) in str(caught.value)


@pytest.mark.parametrize(
    "url", ["http://example.org/x.pt", "ftp://127.0.0.1/x", "file:///etc/passwd"]
)
def test_https_only(url):
    with pytest.raises(FeatnormError, match="https only"):
        download.fetch_url(url)


def test_a_cache_that_cannot_be_written(home):
    (home / ".cache").write_text("a file in the way")
    with pytest.raises(FeatnormError, match="cannot fetch"):
        download.fetch_url("http://127.0.0.1:9/model.pt")


def _fetch(url: str, queue: multiprocessing.Queue) -> None:
    queue.put(download.fetch_url(url).read_bytes() == DATA)


def test_one_download_for_many_processes(server):
    server.behave["delay"] = 0.3
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    workers = [context.Process(target=_fetch, args=(server.url, queue)) for _ in range(4)]
    for worker in workers:
        worker.start()
    assert [queue.get(timeout=20) for _ in workers] == [True] * 4
    for worker in workers:
        worker.join()
    assert server.requests == [None]


def test_an_upstream_by_url_and_by_name(server, make_checkpoint, tmp_path):
    official = make_checkpoint("wavlm").read_bytes()
    server.behave["body"] = official
    digest = hashlib.sha256(official).hexdigest()
    assert load_upstream("wavlm_tiny", server.url).identity == f"sha256:{digest}"
    cards = tmp_path / "cards"
    cards.mkdir()
    (cards / "mine.yaml").write_text(
        f"family: wavlm\nsource: {server.url}?again\nsha256: {digest}\narchitecture: {{}}\n"
    )
    assert load_upstream("mine", conf_dir=cards).num_layers == 3
    assert len(server.requests) == 2
