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


def test_goes_on_after_cuts(server, target, capsys):
    server.behave["cut"] = 200_000
    fetch_file(server.url, target, digest=f"sha256:{hashlib.sha256(server.data).hexdigest()}")
    assert target.read_bytes() == server.data and leftovers(target) == []
    assert "100%" in capsys.readouterr().err
    begins = [int(asked[6:-1]) for asked in server.ranges[1:]]
    assert server.ranges[0] is None and 0 < begins[0] < begins[1] < begins[-1]


def test_goes_on_in_another_process_later(server, target):
    server.behave["cut"] = 0
    with pytest.raises(FeatnormError, match="cut"):
        fetch_file(server.url, target)
    assert len(server.requests) == fetch.TRIES
    Path(f"{target}.part").write_bytes(server.data[:123_456])
    server.behave.clear()
    fetch_file(server.url, target)
    assert target.read_bytes() == server.data and server.ranges[-1] == "bytes=123456-"


@pytest.mark.parametrize(
    ("version", "behave"),
    [
        ('"v0"', {}),
        ('"v1"', {"ranges": False}),
        ('"v1"', {"headers": {"Content-Range": None}}),
    ],
    ids=["another version", "no ranges", "no range told"],
)
def test_starts_over_when_it_cannot_go_on(server, target, version, behave):
    target.parent.mkdir()
    Path(f"{target}.part").write_bytes(b"x" * 18_000)
    Path(f"{target}.part.version").write_text(version)
    server.behave.update(behave)
    fetch_file(server.url, target)
    assert target.read_bytes() == server.data and leftovers(target) == []


def test_a_server_that_stalls(server, target, monkeypatch):
    monkeypatch.setattr(fetch, "TIMEOUT", 0.2)
    monkeypatch.setattr(fetch, "TRIES", 2)
    monkeypatch.setattr(fetch, "_BLOCK", 1 << 16)
    server.behave.update(cut=300_000, stall=True)
    fetch_file(server.url, target)
    assert target.read_bytes() == server.data and len(server.requests) == 3


@pytest.mark.parametrize(
    ("behave", "known", "said"),
    [
        ({"kind": "text/html; charset=utf-8"}, {}, "web page"),
        ({"status": 404}, {}, "HTTP 404"),
        ({"body": b"x" * 699_999}, {"size": 700_000}, "699999 bytes, not 700000"),
        ({"redirect": "http://example.invalid/model.pt"}, {}, "https only"),
        ({"redirect": "http://127.0.0.1:80@example.invalid/model.pt"}, {}, "https only"),
        ({}, {"digest": "sha256:00"}, "its SHA-256 is .*, the official one is 00"),
    ],
)
def test_what_is_not_the_file_is_not_kept(server, target, behave, known, said):
    server.behave.update(behave)
    with pytest.raises(FeatnormError, match=said):
        fetch_file(server.url, target, **known)
    assert not target.exists() and leftovers(target) == []


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://example.org/x.pt", "https only"),
        ("ftp://127.0.0.1/x", "https only"),
        ("file:///etc/passwd", "https only"),
        ("https://[x/y", "not a valid host"),
        ("http://127.0.0.1:9/x", "refused"),  # nobody listens there
    ],
)
def test_what_cannot_be_asked_says_what_to_do_instead(url, said, target, monkeypatch):
    monkeypatch.setattr(fetch, "PAUSE", 0.01)
    with pytest.raises(FeatnormError, match=rf"cannot fetch .*{said}.*; ask a friend"):
        fetch_file(url, target, mend="ask a friend")
