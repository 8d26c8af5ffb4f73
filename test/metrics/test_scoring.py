from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from featnorm_se.errors import FeatnormError
from featnorm_se.metrics import scoring, worker
from featnorm_se.metrics.cache import Row
from featnorm_se.metrics.scoring import Progress, score_set
from featnorm_se.metrics.worker import Task, score_files, score_tasks

Corpus = Callable[[int], tuple[Path, Path]]
FAST = ["SI_SDR", "SSNR"]


def read_csv(folder: Path) -> dict[str, dict[str, str]]:
    with open(folder / "scores.csv", newline="") as handle:
        return {row["utt_id"]: row for row in csv.DictReader(handle)}


def test_files_and_summary(corpus: Corpus, tmp_path: Path) -> None:
    ref, inf = corpus(3)
    out = tmp_path / "out"
    summary = score_set(ref, inf, out, ["PESQ_WB", "STOI", "SI_SDR", "COVL"], nj=2)
    rows = read_csv(out)
    assert list(rows) == ["u0", "u1", "u2"]
    assert list(rows["u0"]) == ["utt_id", "PESQ_WB", "STOI", "SI_SDR", "COVL", "reason"]
    assert all(row["reason"] == "" for row in rows.values())
    assert json.loads((out / "summary.json").read_text()) == summary
    values = [float(row["PESQ_WB"]) for row in rows.values()]
    assert summary["metrics"]["PESQ_WB"]["mean"] == pytest.approx(np.mean(values), abs=1e-6)
    assert summary["versions"]["pesq"] and summary["versions"]["pystoi"]
    assert summary["failures"] == []


def test_nothing_is_scored_twice(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref, inf = corpus(3)
    out = tmp_path / "out"
    asked: list[tuple[str, tuple[str, ...]]] = []

    def spy(tasks: list[Task], nj: int) -> list[tuple[Task, Row]]:
        asked.extend((task.utt_id, task.metrics) for task in tasks)
        return [(task, score_files(task)) for task in tasks]

    monkeypatch.setattr(scoring, "score_tasks", spy)
    first = score_set(ref, inf, out, FAST)
    assert len(asked) == 3
    asked.clear()
    assert score_set(ref, inf, out, FAST) == first
    assert asked == []
    samples, rate = soundfile.read(inf / "u1.wav")
    soundfile.write(inf / "u1.wav", 0.5 * samples, rate)
    second = score_set(ref, inf, out, FAST)
    assert asked == [("u1", ("SI_SDR", "SSNR"))]
    assert second["metrics"]["SSNR"]["mean"] != first["metrics"]["SSNR"]["mean"]
    asked.clear()
    third = score_set(ref, inf, out, [*FAST, "SDR"])
    assert {metrics for _, metrics in asked} == {("SDR",)} and len(asked) == 3
    assert third["metrics"]["SSNR"] == second["metrics"]["SSNR"]


def test_no_utterance_is_dropped(corpus: Corpus, tmp_path: Path) -> None:
    ref, inf = corpus(9)
    x, rate = soundfile.read(inf / "u1.wav")
    (inf / "u0.wav").unlink()
    (ref / "u8.wav").unlink()
    soundfile.write(inf / "u1.wav", x[:-160], rate)
    soundfile.write(inf / "u2.wav", x[:-161], rate)
    soundfile.write(inf / "u3.wav", x, 8000)
    (inf / "u4.wav").write_bytes(b"<html>not found</html>")
    soundfile.write(inf / "u5.wav", np.full(16000, np.nan), rate, subtype="FLOAT")
    y, _ = soundfile.read(inf / "u6.wav")
    soundfile.write(inf / "u6.wav", np.zeros_like(y), rate)
    soundfile.write(inf / "u7.wav", np.zeros((16000, 2)), rate)
    summary = score_set(ref, inf, tmp_path / "out", FAST, nj=1)
    rows = read_csv(tmp_path / "out")
    assert list(rows) == [f"u{i}" for i in range(9)]
    expected = {
        "u0": "no file to score",
        "u2": "other length",
        "u3": "other rate",
        "u4": "no audio",
        "u5": "NaN",
        "u6": "silent",
        "u7": "2 channels",
        "u8": "no reference",
    }
    for name, told in expected.items():
        assert told in rows[name]["reason"], name
        assert rows[name]["SI_SDR"] == ""
    assert rows["u1"]["reason"] == "" and rows["u1"]["SI_SDR"]
    assert summary["cut_to_shorter"] == {"u1": 160}
    assert [failure["utt_id"] for failure in summary["failures"]] == list(expected)
    assert summary["metrics"]["SI_SDR"]["count"] == 1


def test_by_condition_reaches_the_summary(corpus: Corpus, tmp_path: Path) -> None:
    ref, inf = corpus(2)
    (tmp_path / "utt2cond").write_text("u0 bus 0\nu1 cafe 5\n")
    summary = score_set(ref, inf, tmp_path / "out", FAST, utt2cond=tmp_path / "utt2cond")
    told = json.loads((tmp_path / "out/summary.json").read_text())["conditions"]
    assert told == summary["conditions"]
    assert told["snr"]["5"]["SI_SDR"] > told["snr"]["0"]["SI_SDR"] + 3


def test_sets_without_a_common_name_are_told(corpus: Corpus, tmp_path: Path) -> None:
    ref, inf = corpus(1)
    os.rename(inf / "u0.wav", inf / "u0_enhanced.wav")
    with pytest.raises(FeatnormError, match="no utterance in common .such as u0 and u0_enh"):
        score_set(ref, inf, tmp_path / "out", FAST)
    assert not (tmp_path / "out/scores.csv").exists()


def test_a_missing_package_is_told_at_once(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref, inf = corpus(1)
    monkeypatch.setitem(sys.modules, "pystoi", None)
    with pytest.raises(FeatnormError, match="STOI: the package pystoi is missing: pip install"):
        score_set(ref, inf, tmp_path / "out", ["STOI"])
    with pytest.raises(FeatnormError, match="--nj is 0"):
        score_set(ref, inf, tmp_path / "out", FAST, nj=0)


def killer(task: Task) -> Row:
    """Stand in for PESQ's crash on one utterance."""
    if task.utt_id == "bad":
        os.kill(os.getpid(), signal.SIGSEGV)
    return Row(task.utt_id, {"SI_SDR": 1.0})


def test_a_worker_that_dies_costs_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "score_files", killer)
    tasks = [Task(name, "", "", ("SI_SDR",)) for name in ("a", "bad", "b", "c")]
    rows = {row.utt_id: row for _, row in score_tasks(tasks, 1)}
    assert set(rows) == {"a", "bad", "b", "c"}
    assert "died" in rows["bad"].fault
    assert all(rows[name].scores == {"SI_SDR": 1.0} for name in ("a", "b", "c"))


def sleeper(task: Task) -> Row:
    """Stand in for a very long recording; leave a sign that it began."""
    Path(task.ref).write_text(str(os.getpid()))
    time.sleep(60)
    return Row(task.utt_id)


def wait_for(path: Path) -> int:
    """Return the process number that a sleeper has written."""
    for _ in range(400):
        if path.exists() and path.read_text():
            return int(path.read_text())
        time.sleep(0.02)
    raise AssertionError("no worker began")


def is_gone(pid: int) -> bool:
    """Wait up to 5 s for a process to end; one that nobody has collected yet counts as ended."""
    for _ in range(250):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.02)
    return False


def test_who_interrupts_does_not_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "score_files", sleeper)

    def interrupt(*_: object, **__: object) -> None:
        wait_for(tmp_path / "sign")
        raise KeyboardInterrupt

    monkeypatch.setattr(worker, "wait", interrupt)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        list(score_tasks([Task("a", str(tmp_path / "sign"), "", ())], 1))
    assert time.monotonic() - began < 30
    assert is_gone(wait_for(tmp_path / "sign"))


def test_a_killed_parent_leaves_no_worker_behind(tmp_path: Path) -> None:
    code = (
        "from featnorm_se.metrics import worker\n"
        "from test_scoring import sleeper\n"
        "if __name__ == '__main__':\n"
        "    worker.score_files = sleeper\n"
        f"    list(worker.score_tasks([worker.Task('a', {str(tmp_path / 'sign')!r}, '', ())], 1))\n"
    )
    (tmp_path / "main.py").write_text(code)
    path = os.pathsep.join((str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")))
    parent = subprocess.Popen(
        [sys.executable, str(tmp_path / "main.py")], env={**os.environ, "PYTHONPATH": path}
    )
    try:
        child = wait_for(tmp_path / "sign")
    finally:
        parent.kill()
        parent.wait()
    assert is_gone(child)


def test_names_with_spaces_and_more_processes_than_files(tmp_path: Path, corpus: Corpus) -> None:
    ref, inf = corpus(2)
    for folder in (ref, inf):
        os.rename(folder / "u0.wav", folder / "\u00fc, b.wav")
    score_set(ref, inf, tmp_path / "out", FAST, nj=5)
    rows = read_csv(tmp_path / "out")
    assert list(rows) == ["u1", "\u00fc, b"]
    assert all(row["SSNR"] for row in rows.values())


def test_the_callers_threads_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    with worker._single_thread():
        assert os.environ["OMP_NUM_THREADS"] == os.environ["MKL_NUM_THREADS"] == "1"
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "MKL_NUM_THREADS" not in os.environ


def test_progress_tells_rate_and_rest() -> None:
    stream = io.StringIO()
    progress = Progress(2, stream)
    progress.step()
    assert stream.getvalue() == ""
    progress.step()
    assert stream.getvalue().startswith("scored 2/2, ")
    assert stream.getvalue().endswith(" a second, 0 s left\n")
