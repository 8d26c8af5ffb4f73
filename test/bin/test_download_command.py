"""The download of VoiceBank-DEMAND, from a server on this machine that cuts and lies."""

from __future__ import annotations

import hashlib
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from featnorm_se.bin import run
from featnorm_se.bin.download import fetch, main
from featnorm_se.data import voicebank_demand
from featnorm_se.data.voicebank_demand import OfficialFile
from featnorm_se.upstream import download

BRING = voicebank_demand.download_voicebank_demand
DATA = b"PK" + os.urandom(300_000)
FILES = (
    OfficialFile("logs.zip", "one", hashlib.md5(DATA).hexdigest()),
    OfficialFile("wav.zip", "two", hashlib.md5(DATA).hexdigest(), len(DATA)),
)


class Handler(BaseHTTPRequestHandler):
    """Serves DATA with ranges, ``server.cut`` bytes a connection."""

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.asked.append((self.path, asked))
        begin = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {begin}-{len(DATA) - 1}/{len(DATA)}")
        self.send_header("Content-Length", str(len(DATA) - begin))
        self.send_header("ETag", '"v1"')
        self.end_headers()
        self.wfile.write(DATA[begin : begin + self.server.cut])


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(download, "PAUSE", 0.01)
    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.asked, made.cut, made.daemon_threads = [], len(DATA), True
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


def get(server, output: Path, monkeypatch, files=FILES) -> int:
    monkeypatch.setattr(
        voicebank_demand,
        "download_voicebank_demand",
        lambda *args, **options: BRING(*args, files=files, **options),
    )
    address = f"http://127.0.0.1:{server.server_port}"
    return run(main, ["--output", str(output), "--server", address])


def test_a_cut_download_goes_on_and_a_whole_file_is_kept(server, tmp_path, monkeypatch) -> None:
    server.cut = 100_000
    assert get(server, tmp_path / "d", monkeypatch) == 0
    assert (tmp_path / "d" / "wav.zip").read_bytes() == DATA
    assert ("/one/content", "bytes=100000-") in server.asked
    count = len(server.asked)
    assert get(server, tmp_path / "d", monkeypatch) == 0
    assert len(server.asked) == count


def test_another_file_than_the_published_one_is_told(server, tmp_path, monkeypatch, capsys) -> None:
    wrong = (OfficialFile("logs.zip", "one", "0" * 32),)
    assert get(server, tmp_path / "d", monkeypatch, wrong) == 1
    assert "the official one is 0000" in capsys.readouterr().err


def test_another_size_is_told(server, tmp_path, monkeypatch, capsys) -> None:
    wrong = (OfficialFile("logs.zip", "one", FILES[0].md5, 17),)
    assert get(server, tmp_path / "d", monkeypatch, wrong) == 1
    assert "bytes, not 17" in capsys.readouterr().err


def test_only_tls_elsewhere(tmp_path: Path, capsys) -> None:
    assert run(lambda _: fetch("http://example.org/x.zip", tmp_path / "x.zip", None), []) == 1
    error = capsys.readouterr().err
    assert "https only" in error and "--db_root" in error


def test_the_disk_is_looked_at_before_anything_is_fetched(
    server, tmp_path, monkeypatch, capsys
) -> None:
    huge = (OfficialFile("wav.zip", "two", FILES[0].md5, 1 << 60),)
    assert get(server, tmp_path / "d", monkeypatch, huge) == 1
    assert "GB are free" in capsys.readouterr().err and not server.asked


def test_the_official_list_is_of_the_four_folders_and_the_logs() -> None:
    from featnorm_se.data import names

    wanted = {f"{n}.zip" for n in (*names.TRAIN_FOLDERS, *names.TEST_FOLDERS)} | {"logfiles.zip"}
    assert {file.name for file in voicebank_demand.DOWNLOADS} == wanted
    assert all(len(file.md5) == 32 for file in voicebank_demand.DOWNLOADS)
    assert voicebank_demand.SERVER.startswith("https://datashare.ed.ac.uk/")
