from __future__ import annotations

import csv
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from featnorm_se.metrics import scoring, worker
from featnorm_se.metrics.scoring import score_set
from featnorm_se.metrics.worker import Row, Task, score_files, score_tasks

Corpus = Callable[[int], tuple[Path, Path]]
FAST = ["SI_SDR", "SSNR"]


def read_csv(folder: Path) -> dict[str, dict[str, str]]:
    with open(folder / "scores.csv", newline="") as handle:
        return {row["utt_id"]: row for row in csv.DictReader(handle)}


def test_files_and_summary(corpus: Corpus, tmp_path: Path) -> None:
    ref, inf = corpus(3)
    for folder in (ref, inf):
        os.rename(folder / "u0.wav", folder / "\u00fc, b.wav")
    out = tmp_path / "out"
    summary = score_set(ref, inf, out, ["PESQ_WB", "STOI", "SI_SDR", "COVL"], nj=2)
    rows = read_csv(out)
    assert list(rows) == ["u1", "u2", "\u00fc, b"]
    assert list(rows["u1"]) == ["utt_id", "PESQ_WB", "STOI", "SI_SDR", "COVL", "reason"]
    assert all(row["reason"] == "" for row in rows.values())
    assert json.loads((out / "summary.json").read_text()) == summary
    values = [float(row["PESQ_WB"]) for row in rows.values()]
    assert summary["metrics"]["PESQ_WB"]["mean"] == pytest.approx(np.mean(values), abs=1e-6)
    assert summary["versions"]["pesq"] and summary["versions"]["pystoi"]
    assert summary["failures"] == []


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The utterances that were scored anew."""
    names: list[str] = []

    def spy(tasks: list[Task], nj: int) -> Iterator[tuple[Task, Row]]:
        for task in tasks:
            names.append(task.utt_id)
            yield task, score_files(task)

    monkeypatch.setattr(scoring, "score_tasks", spy)
    return names


def test_nothing_is_scored_twice(corpus: Corpus, tmp_path: Path, asked: list[str]) -> None:
    ref, inf = corpus(3)
    out = tmp_path / "out"
    first = score_set(ref, inf, out, FAST)
    assert sorted(asked) == ["u0", "u1", "u2"]
    asked.clear()
    (out / ".summary.json.done.json").unlink()
    assert score_set(ref, inf, out, FAST) == first
    (out / "scores.cache.jsonl").unlink()
    assert score_set(ref, inf, out, FAST) == first  # the whole is known to be done
    assert asked == []
    (out / "scores.csv").unlink()
    assert score_set(ref, inf, out, FAST) == first
    assert len(asked) == 3
    asked.clear()
    samples, rate = soundfile.read(inf / "u1.wav")
    soundfile.write(inf / "u1.wav", 0.5 * samples, rate)
    second = score_set(ref, inf, out, FAST)
    assert asked == ["u1"]
    assert second["metrics"]["SSNR"]["mean"] != first["metrics"]["SSNR"]["mean"]
    third = score_set(ref, inf, out, [*FAST, "LLR"])
    assert len(asked) == 4 and third["metrics"]["SSNR"] == second["metrics"]["SSNR"]


def test_a_killed_scoring_loses_the_line_that_was_cut(
    corpus: Corpus, tmp_path: Path, asked: list[str]
) -> None:
    ref, inf = corpus(3)
    out = tmp_path / "out"
    first = score_set(ref, inf, out, FAST)
    cache = out / "scores.cache.jsonl"
    (out / "scores.csv").unlink()
    lines = cache.read_text().splitlines()
    cache.write_text("\n".join([*lines[:-1], lines[-1][:40]]))
    cut = asked[-1]
    asked.clear()
    assert score_set(ref, inf, out, FAST) == first
    assert asked == [cut]
    (out / "scores.csv").unlink()
    score_set(ref, inf, out, FAST)
    assert asked == [cut]


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
    for name, reason in expected.items():
        assert reason in rows[name]["reason"], name
        assert rows[name]["SI_SDR"] == ""
    assert rows["u1"]["reason"] == "" and rows["u1"]["SI_SDR"]
    assert summary["cut_to_shorter"] == {"u1": 160}
    assert [failure["utt_id"] for failure in summary["failures"]] == list(expected)
    assert summary["metrics"]["SI_SDR"]["count"] == 1


def test_by_condition_reaches_the_summary(corpus: Corpus, tmp_path: Path) -> None:
    ref, inf = corpus(2)
    (tmp_path / "utt2cond").write_text("u0 bus 0\nu1 cafe 5\n")
    summary = score_set(ref, inf, tmp_path / "out", FAST, utt2cond=tmp_path / "utt2cond")
    found = json.loads((tmp_path / "out/summary.json").read_text())["conditions"]
    assert found == summary["conditions"]
    assert found["snr"]["5"]["SI_SDR"] > found["snr"]["0"]["SI_SDR"] + 3


def test_a_command_in_an_scp_is_not_run(corpus: Corpus, tmp_path: Path) -> None:
    ref, _ = corpus(1)
    scp, mark = tmp_path / "inf.scp", tmp_path / "mark"
    scp.write_text(f"u0 touch {mark} |\n")
    summary = score_set(ref, scp, tmp_path / "out", FAST)
    assert "no such audio file: touch" in summary["failures"][0]["reason"]
    assert not mark.exists()


def killer(task: Task) -> Row:
    """Stand in for PESQ's crash on one utterance."""
    if task.utt_id == "bad":
        os.kill(os.getpid(), signal.SIGSEGV)
    return Row(task.utt_id, {"SI_SDR": 1.0})


@pytest.mark.parametrize("nj", [1, 2])
def test_a_worker_that_dies_costs_one_row(monkeypatch: pytest.MonkeyPatch, nj: int) -> None:
    monkeypatch.setattr(worker, "score_files", killer)
    tasks = [Task(name, "", "", ("SI_SDR",)) for name in ("a", "bad", "b", "c")]
    rows = {row.utt_id: row for _, row in score_tasks(tasks, nj)}
    assert set(rows) == {"a", "bad", "b", "c"}
    assert "died" in rows["bad"].fault
    assert all(rows[name].scores == {"SI_SDR": 1.0} for name in ("a", "b", "c"))
