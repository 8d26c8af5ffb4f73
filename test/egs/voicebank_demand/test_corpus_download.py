"""The download of VoiceBank-DEMAND, from a server on this machine that cuts and lies."""

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from featnorm_se.data import voicebank_demand as names

RECIPE = Path(__file__).parents[3] / "egs" / "voicebank_demand" / "enh1"
DATA = os.urandom(700_000)
pytestmark = pytest.mark.skipif(shutil.which("wget") is None, reason="needs wget")


@pytest.fixture
def get(server, tmp_path):
    """Fetch files of these MD5s from the server."""

    def fetched(**md5: str) -> subprocess.CompletedProcess[str]:
        server.files = {f"/{name}/content": DATA for name in md5}
        lines = [f"{value} {name} {name}.zip\n" for name, value in md5.items()]
        (tmp_path / "list").write_text("".join(lines))
        command = ["local/download.sh", tmp_path / "d", server.address, tmp_path / "list"]
        return subprocess.run(command, cwd=RECIPE, capture_output=True, text=True)

    return fetched


def test_a_cut_download_goes_on_and_a_whole_file_is_kept(server, get, tmp_path) -> None:
    server.behave["cut"] = 400_000
    md5 = hashlib.md5(DATA).hexdigest()
    assert get(logs=md5, wav=md5).returncode == 0
    assert (tmp_path / "d" / "wav.zip").read_bytes() == DATA
    assert server.ranges[0] is None and server.ranges[1] == "bytes=400000-"
    count = len(server.requests)
    assert get(logs=md5, wav=md5).returncode == 0
    (tmp_path / "d" / ".wav.zip.checked").unlink()  # as where it was put there by hand
    assert get(logs=md5, wav=md5).returncode == 0
    assert len(server.requests) == count


def test_another_file_than_the_published_one_is_told(get) -> None:
    for _ in range(2):  # fetched now, and there already
        failed = get(logs="0" * 32)
        assert failed.returncode == 1
        assert "whose MD5 is 0000" in failed.stderr and "remove it and run again" in failed.stderr


def test_the_official_list_is_of_the_four_folders_and_the_logs() -> None:
    wanted = {f"{n}.zip" for n in (*names.TRAIN_FOLDERS, *names.TEST_FOLDERS)} | {"logfiles.zip"}
    rows = [row.split() for row in (RECIPE / "local" / "downloads.txt").read_text().splitlines()]
    assert {name for _, _, name in rows} == wanted
    assert all(re.fullmatch("[0-9a-f]{32}", md5) for md5, _, _ in rows)
