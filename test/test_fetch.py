"""Files of the Hugging Face hub, from a server on this machine that cuts and lies."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from featnorm_se.fetch import is_hub_name, split_hub_address

DATA = os.urandom(12_000_000)
FETCH = """
import sys
from featnorm_se.bin import run
from featnorm_se.fetch import fetch_hub_file
sys.exit(run(lambda words: print(fetch_hub_file(*words)), sys.argv[1:]))
"""


@pytest.fixture
def start(server, tmp_path):
    """Start a process that fetches files, with a cache of the test's own."""
    server.add_repository("someone/model", {"model.bin": DATA, "config.json": b"{}"})
    env = {**os.environ, "HF_ENDPOINT": server.address, "HF_HOME": str(tmp_path / "hf")}

    def started(*words: str, **more: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", FETCH, *words]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(command, env={**env, **more}, text=True, **pipes)

    return started


def told(process: subprocess.Popen[str]) -> str:
    """Return the path that a process prints, or the line that it fails with."""
    out, err = process.communicate(timeout=60)
    return out.strip() if process.returncode == 0 else err.splitlines()[-1]


def test_goes_on_after_a_cut_and_is_found_again(server, start) -> None:
    server.behave["cut"] = 11_000_000
    path = Path(told(start("someone/model", "none.safetensors", "model.bin")))
    assert path.read_bytes() == DATA
    assert server.ranges == [None, f"bytes={10 << 20}-"]
    server.behave["status"] = 500
    count = len(server.requests)
    # In the cache, what it holds is taken: also where nobody is to be asked.
    assert told(start("someone/model@main", "model.bin")) == str(path)
    assert told(start("someone/model", "none", "model.bin", HF_HUB_OFFLINE="1")) == str(path)
    assert len(server.requests) == count


def test_damage_is_found(server, start) -> None:
    server.behave["damage"] = True
    line = told(start("someone/model", "model.bin"))
    blob = hashlib.sha256(DATA).hexdigest()
    assert "model.bin is damaged: remove it and" in line and blob in line


def test_what_is_a_name_on_the_hub_and_what_a_path(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = ("microsoft/wavlm-base-plus", "facebook/wav2vec2-xls-r-0.3b", "a/b@refs/pr/1")
    assert all(map(is_hub_name, names))
    paths = "exp/wavlm.pt ./wavlm ../a/b /a/b wavlm a/b/c https://x.org/a ~/a"
    assert not any(map(is_hub_name, paths.split()))
    Path("microsoft/wavlm-base-plus").mkdir(parents=True)
    assert not is_hub_name(names[0])
    assert not is_hub_name("microsoft/mistyped")
    page = "https://huggingface.co/s3prl/mockingjay"
    for way in ("resolve", "blob"):
        file = split_hub_address(f"{page}/{way}/main/x/states.ckpt?download=true")
        assert file == ("s3prl/mockingjay@main", "x/states.ckpt")
    for ending, revision in (("", "main"), ("/", "main"), ("/tree/v1", "v1")):
        assert split_hub_address(page + ending) == (f"s3prl/mockingjay@{revision}", "")
    assert split_hub_address("https://example.org/a/b/resolve/main/x") is None
