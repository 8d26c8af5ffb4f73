"""Checkpoints by URL: where they are kept, who fetches them, what is said when they cannot be."""

from __future__ import annotations

import hashlib
import importlib
import multiprocessing

import pytest

from featnorm_se import fetch
from featnorm_se.errors import FeatnormError
from featnorm_se.upstream import load_upstream, loading


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> None:
    """A cache of the test's own, and no waiting."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(fetch, "PAUSE", 0.01)


def card(server, digest: str) -> dict[str, object]:
    return {"source": server.url, "sha256": digest, "bytes": len(server.data)}


def test_fetched_once_and_found_again(server, tmp_path):
    digest = hashlib.sha256(server.data).hexdigest()
    path = loading.fetch(None, card(server, digest))
    assert path.read_bytes() == server.data
    name = hashlib.sha256(server.url.encode()).hexdigest() + ".model.pt"
    assert path == tmp_path / ".cache" / "s3prl" / "download" / name
    server.behave["status"] = 500
    assert loading.fetch(server.url, {}) == path
    assert len(server.requests) == 1


def test_the_place_is_s3prls(server, monkeypatch, tmp_path):
    theirs = importlib.import_module("s3prl.util.download")
    monkeypatch.setattr(theirs, "_download_dir", tmp_path / ".cache" / "s3prl" / "download")
    expected = theirs._urls_to_filepaths(server.url, download=False)
    assert str(loading.cache_path(server.url)) == expected


def test_what_cannot_be_had_says_which_file_to_put_where(server):
    server.behave["status"] = 404
    path = loading.cache_path(server.url)
    with pytest.raises(FeatnormError, match="404") as caught:
        loading.fetch(server.url, {})
    assert f"put it at {path}, or give its path as the checkpoint" in str(caught.value)
    server.behave.clear()
    with pytest.raises(FeatnormError, match="SHA-256"):
        loading.fetch(None, card(server, "0" * 64))
    assert not path.exists()


def _fetch(url: str, queue: multiprocessing.Queue) -> None:
    queue.put(hashlib.sha256(loading.fetch(url, {}).read_bytes()).hexdigest())


def test_one_download_for_many_processes(server):
    server.behave["delay"] = 0.3
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    workers = [context.Process(target=_fetch, args=(server.url, queue)) for _ in range(4)]
    for worker in workers:
        worker.start()
    found = [queue.get(timeout=20) for _ in workers]
    assert found == [hashlib.sha256(server.data).hexdigest()] * 4
    for worker in workers:
        worker.join()
    assert server.ranges == [None]


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
