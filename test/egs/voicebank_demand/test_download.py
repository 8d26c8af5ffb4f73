"""The download of VoiceBank-DEMAND, from a server on this machine that cuts and lies."""

from __future__ import annotations

import hashlib
from pathlib import Path

import download
import pytest
from download import DOWNLOADS, SERVER, OfficialFile, check_md5, main

from featnorm_se.bin import run
from featnorm_se.errors import FeatnormError

BRING = download.download


@pytest.fixture
def files(server) -> tuple[OfficialFile, ...]:
    md5 = hashlib.md5(server.data).hexdigest()
    return (
        OfficialFile("logs.zip", "one", md5),
        OfficialFile("wav.zip", "two", md5),
    )


def get(server, output: Path, monkeypatch, *files: OfficialFile) -> int:
    monkeypatch.setattr(
        download,
        "download",
        lambda *args, **options: BRING(*args, files=files, **options),
    )
    return run(main, ["--output", str(output), "--server", server.address])


def test_a_cut_download_goes_on_and_a_whole_file_is_kept(
    server, files, tmp_path, monkeypatch
) -> None:
    server.behave["cut"] = 300_000
    assert get(server, tmp_path / "d", monkeypatch, *files) == 0
    assert (tmp_path / "d" / "wav.zip").read_bytes() == server.data
    assert server.requests[0] == ("/one/content", None) and server.ranges[1].startswith("bytes=")
    count = len(server.requests)
    assert get(server, tmp_path / "d", monkeypatch, *files) == 0
    assert len(server.requests) == count


def test_another_file_than_the_published_one_is_told(server, tmp_path, monkeypatch, capsys) -> None:
    wrong = OfficialFile("logs.zip", "one", "0" * 32)
    for _ in range(2):  # fetched now, and there already
        assert get(server, tmp_path / "d", monkeypatch, wrong) == 1
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
    from featnorm_se.data import voicebank_demand as names

    wanted = {f"{n}.zip" for n in (*names.TRAIN_FOLDERS, *names.TEST_FOLDERS)} | {"logfiles.zip"}
    assert {file.name for file in DOWNLOADS} == wanted
    assert all(len(file.md5) == 32 for file in DOWNLOADS)
    assert SERVER.startswith("https://datashare.ed.ac.uk/")


def test_md5_is_checked_and_not_read_twice(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    path.write_bytes(b"abc")
    check_md5(path, "900150983cd24fb0d6963f7d28e17f72")
    with pytest.raises(FeatnormError, match="the official one is 0000"):
        check_md5(path, "0000")
    path.write_bytes(b"abd")
    with pytest.raises(FeatnormError, match="has the MD5 4911e516e5aa21d327512e0c8b197616"):
        check_md5(path, "900150983cd24fb0d6963f7d28e17f72")
