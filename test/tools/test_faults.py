"""tools/faults: what the fault script finds, and that it finds it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

FAULTS = Path(__file__).parents[2] / "tools" / "faults"


@pytest.fixture
def fingerprint(monkeypatch):
    monkeypatch.syspath_prepend(str(FAULTS))
    import fingerprint

    return fingerprint


@pytest.mark.skipif(sys.platform != "linux", reason="the script reads /proc")
def test_stage_1_survives_every_fault(tmp_path):
    command = [sys.executable, str(FAULTS / "kill_anywhere.py"), str(tmp_path / "work")]
    command += ["--stages", "1", "--moments", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 of 3 trials good" in done.stdout
    lines = (tmp_path / "work" / "trials.jsonl").read_text().splitlines()
    trials = [json.loads(line) for line in lines]
    assert {trial["fault"] for trial in trials} == {"kill", "term", "full"}
    assert any(trial["struck"] and trial["status"] == -9 for trial in trials)


def test_files_are_compared_by_what_they_say(fingerprint, tmp_path):
    import torch

    first, second = tmp_path / "a", tmp_path / "b"
    for folder, time in ((first, 1), (second, 2)):
        (folder / "log").mkdir(parents=True)
        (folder / "log" / "x.log").write_text(f"{time}")
        (folder / "run.json").write_text(json.dumps({"norm": "none", "started": time}))
        (folder / ".lock").write_text(f"{time}")
        torch.save({"w": torch.ones(2)}, folder / "1epoch.pth")
        (folder / "latest.pth").symlink_to("1epoch.pth")
    wanted = fingerprint.digests(first)
    assert sorted(wanted) == ["1epoch.pth", "latest.pth", "run.json"]
    assert fingerprint.differences(wanted, fingerprint.digests(second)) == []
    torch.save({"w": torch.zeros(2)}, second / "1epoch.pth")
    (second / "more.txt").write_text("x")
    (second / "latest.pth").unlink()
    told = fingerprint.differences(wanted, fingerprint.digests(second))
    assert [line.split()[0] for line in told] == ["latest.pth", "more.txt", "1epoch.pth"]


def test_a_file_cut_short_is_found(fingerprint, tmp_path):
    import torch

    path = tmp_path / "checkpoint.pth"
    torch.save({"w": torch.ones(1000)}, path)
    whole = fingerprint.digests(tmp_path)
    assert fingerprint.cut_short({}, whole, whole, ()) == []
    path.write_bytes(path.read_bytes()[:-100])
    (told,) = fingerprint.cut_short({}, whole, fingerprint.digests(tmp_path), ("checkpoint.pth",))
    assert told.startswith("checkpoint.pth: broken")
    torch.save({"w": torch.zeros(1000)}, path)
    between = fingerprint.digests(tmp_path)
    assert fingerprint.cut_short({}, whole, between, ("checkpoint.pth",)) == []
    assert len(fingerprint.cut_short({}, whole, between, ())) == 1
