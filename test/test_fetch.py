"""One file from a server on this machine that cuts, stalls and lies."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from featnorm_se import fetch
from featnorm_se.errors import FeatnormError
from featnorm_se.fetch import fetch_file


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "new" / "model.pt"


def leftovers(target: Path) -> list[str]:
    return [path.name for path in target.parent.glob("*") if path != target]


def test_fetched_whole_with_progress(server, target, capsys):
    digest = f"sha256:{hashlib.sha256(server.data).hexdigest()}"
    fetch_file(server.url, target, size=len(server.data), digest=digest)
    assert target.read_bytes() == server.data and leftovers(target) == []
    shown = capsys.readouterr().err
    assert server.url in shown and str(target) in shown and "100%" in shown


def test_goes_on_after_cuts(server, target):
    server.behave["cut"] = 200_000
    fetch_file(server.url, target, digest=f"md5:{hashlib.md5(server.data).hexdigest()}")
    assert target.read_bytes() == server.data
    assert server.ranges == [None, "bytes=200000-", "bytes=400000-", "bytes=600000-"]


def test_goes_on_in_another_process_later(server, target):
    server.behave["cut"] = 0
    with pytest.raises(FeatnormError, match="cut"):
        fetch_file(server.url, target)
    Path(f"{target}.part").write_bytes(server.data[:123_456])
    server.behave.clear()
    fetch_file(server.url, target)
    assert target.read_bytes() == server.data and server.ranges[-1] == "bytes=123456-"


@pytest.mark.parametrize(("have", "version"), [(18_000, '"v0"'), (900_000, '"v1"')])
def test_starts_over_when_the_file_there_is_another_one(server, target, have, version):
    target.parent.mkdir()
    Path(f"{target}.part").write_bytes(b"x" * have)
    Path(f"{target}.part.version").write_text(version)
    if have > len(server.data):  # more than there is: a server says 416
        server.behave["status"] = 416
        with pytest.raises(FeatnormError, match="HTTP Error 416"):
            fetch_file(server.url, target)
        server.behave.clear()
    fetch_file(server.url, target)
    assert target.read_bytes() == server.data


def test_starts_over_without_ranges(server, target):
    server.behave.update(ranges=False, cut=200_000)
    with pytest.raises(FeatnormError, match="cut"):
        fetch_file(server.url, target)
    assert len(server.requests) == fetch.TRIES + 1
    server.behave.pop("cut")
    fetch_file(server.url, target)
    assert target.read_bytes() == server.data


def test_a_server_that_stalls(server, target, monkeypatch):
    monkeypatch.setattr(fetch, "TIMEOUT", 0.2)
    monkeypatch.setattr(fetch, "TRIES", 2)
    monkeypatch.setattr(fetch, "_BLOCK", 1 << 16)
    server.behave.update(cut=300_000, stall=True)
    fetch_file(server.url, target)
    assert target.read_bytes() == server.data and len(server.requests) == 3


def test_odd_headers_are_borne(server, target):
    server.behave["headers"] = {"Content-Length": "many"}
    fetch_file(server.url, target)
    assert target.read_bytes() == server.data
    server.behave["headers"] = {"Content-Range": None}
    Path(f"{target}.part").write_bytes(b"y" * 10)
    Path(f"{target}.part.version").write_text('"v1"')
    fetch_file(server.url, target)
    assert target.read_bytes() == server.data and server.ranges == [None, "bytes=10-", None]


@pytest.mark.parametrize(
    ("behave", "told"),
    [
        ({"kind": "text/html; charset=utf-8"}, "web page"),
        ({"status": 404}, "HTTP Error 404"),
        ({"status": 503}, "HTTP Error 503"),
        ({"body": b"x" * 699_999}, "699999 bytes, not 700000"),
        ({"redirect": "http://example.invalid/model.pt"}, "https only"),
    ],
)
def test_what_is_not_the_file_is_not_kept(server, target, behave, told):
    server.behave.update(behave)
    with pytest.raises(FeatnormError, match=told) as caught:
        fetch_file(server.url, target, size=700_000 if "699999" in told else None)
    assert str(caught.value).endswith(f"; fetch it elsewhere and put it at {target}")
    assert not target.exists() and "\n" not in str(caught.value)


def test_another_digest_is_told_and_nothing_kept(server, target):
    with pytest.raises(FeatnormError, match="its sha256 is .*, the official one is 00"):
        fetch_file(server.url, target, digest="sha256:00")
    assert not target.exists() and leftovers(target) == []


@pytest.mark.parametrize(
    "url", ["http://example.org/x.pt", "ftp://127.0.0.1/x", "file:///etc/passwd", "https:///x"]
)
def test_https_only_and_what_to_do_instead(url, target):
    with pytest.raises(FeatnormError, match="https only; ask a friend"):
        fetch_file(url, target, mend="ask a friend")
    assert not target.parent.exists()


def test_no_address_and_no_network(target, monkeypatch):
    monkeypatch.setattr(fetch, "PAUSE", 0.01)
    with pytest.raises(FeatnormError, match="is no address"):
        fetch_file("https://[x/y", target)
    with pytest.raises(FeatnormError, match=r"cannot fetch .*refused"):
        fetch_file("http://127.0.0.1:9/x", target)  # nobody listens there
