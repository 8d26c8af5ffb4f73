"""The download of VoiceBank-DEMAND, from a server on this machine that cuts and lies."""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path

import download
import pytest
from download import DOWNLOADS, SERVER, OfficialFile, main

from featnorm_se.bin import run
from featnorm_se.data import voicebank_demand as names

BRING = download.download


@pytest.fixture
def get(server, tmp_path, monkeypatch):
    """Fetch a file of these MD5s from the server; return the status."""

    def fetched(**md5: str) -> int:
        files = tuple(OfficialFile(f"{name}.zip", name, value) for name, value in md5.items())
        monkeypatch.setattr(download, "download", partial(BRING, files=files))
        return run(main, ["--output", str(tmp_path / "d"), "--server", server.address])

    return fetched


def test_a_cut_download_goes_on_and_a_whole_file_is_kept(server, get, tmp_path) -> None:
    server.behave["cut"] = 300_000
    md5 = hashlib.md5(server.data).hexdigest()
    assert get(logs=md5, wav=md5) == 0
    assert (tmp_path / "d" / "wav.zip").read_bytes() == server.data
    assert server.requests[0] == ("/logs/content", None) and server.ranges[1].startswith("bytes=")
    count = len(server.requests)
    assert get(logs=md5, wav=md5) == 0
    assert len(server.requests) == count


def test_another_file_than_the_published_one_is_told(server, get, capsys) -> None:
    for _ in range(2):  # fetched now, and there already
        assert get(logs="0" * 32) == 1
        error = capsys.readouterr().err
        assert "the official one is 0000" in error and "remove it and run again" in error
    assert len(server.requests) == 1


def test_what_cannot_be_fetched_names_the_ways_round(tmp_path: Path, capsys) -> None:
    output = str(tmp_path / "d")
    assert run(main, ["--output", output, "--server", "http://example.org"]) == 1
    error = capsys.readouterr().err
    assert "https only); run it again to go on, or fetch it elsewhere and put it at" in error
    assert "--db_root" in error and "checkpoint" not in error


def test_the_official_list_is_of_the_four_folders_and_the_logs() -> None:
    wanted = {f"{n}.zip" for n in (*names.TRAIN_FOLDERS, *names.TEST_FOLDERS)} | {"logfiles.zip"}
    assert {file.name for file in DOWNLOADS} == wanted
    assert all(len(file.md5) == 32 for file in DOWNLOADS)
    assert SERVER.startswith("https://datashare.ed.ac.uk/")
