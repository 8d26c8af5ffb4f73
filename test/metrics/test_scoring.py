import csv
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from featnorm_se.data.audio import read_any_audio, resample, write_audio
from featnorm_se.data.scp import write_scp
from featnorm_se.files import mark_done, read_json, stamp
from featnorm_se.metrics import score_pair, scoring, worker
from featnorm_se.metrics.scoring import score_set
from featnorm_se.metrics.summary import describe, summarize
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
    """The utterances that were scored anew, in this process."""
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
    (inf / "u1.wav").rename(tmp_path / "u1.wav")
    assert score_set(ref, inf, out, [*FAST, "LLR"])["failures"]
    (tmp_path / "u1.wav").rename(inf / "u1.wav")  # what failed meanwhile is no answer
    assert score_set(ref, inf, out, [*FAST, "LLR"]) == third


def test_other_scores_are_added_and_none_is_taken_away(corpus, tmp_path, asked) -> None:
    """As of the noisy speech, whose scores all rows of an experiments folder share."""
    ref, inf = corpus(3)
    (inf / "u2.wav").unlink()
    out, metrics = tmp_path / "out", ["SI_SDR", "SSNR", "LLR"]
    score_set(ref, inf, out, metrics[:2])
    both = score_set(ref, inf, out, metrics[2:])
    assert list(both["metrics"]) == metrics and len(asked) == 4
    assert score_set(ref, inf, out, metrics[:1]) == both and len(asked) == 4
    mark_done(inf / "u1.wav", {"model": "m", "weights": "w", "source": 1})
    assert score_set(ref, inf, out, metrics[:1])["enhanced_with"] == [
        {"model": "m", "weights": "w"}
    ]
    samples, rate = soundfile.read(inf / "u1.wav")
    soundfile.write(inf / "u1.wav", 0.5 * samples, rate)
    assert list(score_set(ref, inf, out, metrics[1:])["metrics"]) == metrics[1:]


def test_scores_tell_which_recordings_they_go_back_to(corpus, tmp_path) -> None:
    ref, noisy = corpus(2)
    write_scp(tmp_path / "wav.scp", {path.stem: str(path) for path in noisy.glob("*.wav")})
    enhanced = tmp_path / "enhanced"
    shutil.copytree(ref, enhanced)

    def inputs() -> list[str]:
        both = (tmp_path / "wav.scp", enhanced)
        return [score_set(ref, x, tmp_path / f"to_{x.stem}", FAST)["input"] for x in both]

    before, without = inputs()
    assert before != without, "no record says what those were made of"
    for path in enhanced.glob("*.wav"):
        mark_done(path, {"model": "m", "source": stamp([noisy / path.name])})
        os.utime(path)
    assert inputs() == [before, before]
    clean = {read_json(tmp_path / f"to_{x}" / "summary.json")["clean"] for x in ("wav", "enhanced")}
    assert len(clean) == 1
    os.utime(noisy / "u1.wav", (1, 1))
    now, old = inputs()
    assert now != before == old


def test_a_killed_scoring_loses_the_line_that_was_cut(corpus, tmp_path, asked):
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


@pytest.mark.usefixtures("asked")
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
    soundfile.write(inf / "u7.wav", np.stack([x, -x], axis=1), rate)
    summary = score_set(ref, inf, tmp_path / "out", FAST, nj=1)
    rows = read_csv(tmp_path / "out")
    assert list(rows) == [f"u{i}" for i in range(9)]
    expected = {"u0": "no file to score", "u2": "other length", "u3": "other rate"}
    expected |= {"u4": "no audio", "u5": "NaN", "u6": "silent", "u7": "2 channels"}
    expected["u8"] = "no reference"
    for name, reason in expected.items():
        assert reason in rows[name]["reason"], name
        assert rows[name]["SI_SDR"] == ""
    assert rows["u1"]["reason"] == "" and rows["u1"]["SI_SDR"]
    assert summary["cut_to_shorter"] == {"u1": 160}
    assert [failure["utt_id"] for failure in summary["failures"]] == list(expected)
    assert summary["metrics"]["SI_SDR"]["count"] == 1


@pytest.mark.usefixtures("asked")
def test_an_input_that_is_missing_is_said_to_be_it(corpus: Corpus, tmp_path: Path) -> None:
    ref, inf = corpus(2)
    shutil.copytree(inf, tmp_path / "mix")
    (tmp_path / "mix" / "u1.wav").unlink()
    score_set(ref, inf, tmp_path / "out", ["SI_SDR", "SI_SDRi"], mix=tmp_path / "mix")
    rows = read_csv(tmp_path / "out")
    assert rows["u0"]["SI_SDRi"] == "0.000000"
    assert "no input in --mix beside the reference" in rows["u1"]["reason"]


@pytest.mark.usefixtures("asked")
def test_names_in_latin_1_are_scored_and_told(corpus: Corpus, tmp_path: Path) -> None:
    ref, inf = corpus(2)
    for folder in (ref, inf):
        os.rename(folder / "u0.wav", folder / os.fsdecode(b"caf\xe9.wav"))
    os.rename(ref / "u1.wav", ref / os.fsdecode(b"\xe9.wav"))
    summary = score_set(ref, inf, tmp_path / "out", FAST, nj=1)
    assert summary["metrics"]["SSNR"]["count"] == 1
    assert json.loads((tmp_path / "out" / "summary.json").read_text()) == summary
    assert list(read_csv(tmp_path / "out")) == ["caf\\udce9", "u1", "\\udce9"]


@pytest.mark.usefixtures("asked")
def test_higher_rates_are_scored_at_16_khz(corpus: Corpus, tmp_path: Path) -> None:
    """By the recipe's resampler, whichever side has them: not one score is missing or another."""
    ref, inf = corpus(1)
    for folder in (ref, inf):
        for path in folder.iterdir():
            x, _ = soundfile.read(path, dtype="float32")
            wide = tmp_path / f"{folder.name}48" / path.name
            write_audio(wide, resample(x, 16000, 48000), 48000)
            x48, _ = read_any_audio(wide)
            write_audio(tmp_path / folder.name / path.name, resample(x48[:, 0], 48000, 16000))
    metrics = ["PESQ_WB", "STOI", "SI_SDR", "COVL"]
    narrow = score_set(ref, inf, tmp_path / "16", metrics)
    assert "resampled" not in narrow and narrow["failures"] == []
    for left, right in ((ref, "inf48"), ("ref48", "inf48")):
        out = tmp_path / "out"
        found = score_set(tmp_path / left, tmp_path / right, out, metrics)
        for name in metrics:
            mean = found["metrics"][name]["mean"]
            assert mean == pytest.approx(narrow["metrics"][name]["mean"], abs=2e-3), name
        assert found["resampled"]["utterances"] == 1 and found["resampled"]["from"] == [48000]
        assert "torchaudio" in found["resampled"]["resampler"]
    x, y = (soundfile.read(tmp_path / f"{name}48/u0.wav")[0] for name in ("ref", "inf"))
    row = read_csv(out)["u0"]
    assert score_pair(x, y, 48000, ["STOI"])["STOI"] == pytest.approx(float(row["STOI"]), abs=1e-6)


@pytest.mark.usefixtures("asked")
@pytest.mark.parametrize("suffix", ["", "_enhanced", ".denoised"])
def test_names_with_a_suffix_and_noise_beside(corpus: Corpus, tmp_path: Path, suffix: str) -> None:
    ref, inf = corpus(3)
    expected = score_set(ref, inf, tmp_path / "plain", FAST)
    for path in list(inf.iterdir()):
        made = path.rename(path.with_name(f"{path.stem}{suffix}.wav"))
        soundfile.write(made.with_name(f"{made.stem}.noise.wav"), np.ones(16000), 16000)
    (tmp_path / "utt2cond").write_text("u0 bus 0\nu1 cafe 5\nu2 cafe 5\n")
    found = score_set(ref, inf, tmp_path / "out", FAST, utt2cond=tmp_path / "utt2cond")
    assert found["metrics"] == expected["metrics"] and found["failures"] == []
    assert found.get("names_matched_by", "") == suffix
    assert found["noise_files_left_out"] == 3
    assert list(found["conditions"]["noise"]) == ["bus", "cafe"]
    assert found["conditions"]["snr"]["5"]["utterances"] == 2


def killer(task: Task) -> Row:
    """Stand in for PESQ's crash on two utterances."""
    if task.utt_id == "bad" or "PESQ_WB" in task.metrics:
        os.kill(os.getpid(), signal.SIGSEGV)
    return Row(task.utt_id, {"SI_SDR": 1.0})


@pytest.mark.parametrize("nj", [1, 2])
def test_a_worker_that_dies_costs_one_row(monkeypatch: pytest.MonkeyPatch, nj: int) -> None:
    monkeypatch.setattr(worker, "score_files", killer)
    tasks = [Task(name, "", "", ("SI_SDR",)) for name in ("a", "bad", "b", "c")]
    tasks.append(Task("long", "", "", ("PESQ_WB", "SI_SDR")))
    rows = {row.utt_id: row for _, row in score_tasks(tasks, nj)}
    assert set(rows) == {"a", "bad", "b", "c", "long"}
    assert "died" in rows["bad"].fault
    # Without PESQ it has the others.
    assert "PESQ crashed" in rows["long"].reasons["PESQ_WB"] and not rows["long"].fault
    assert all(rows[name].scores == {"SI_SDR": 1.0} for name in ("a", "b", "c", "long"))


# ---- the summary


def test_describe_against_known_values() -> None:
    found = describe([1.0, 2.0, 3.0, 4.0])
    assert found["mean"] == 2.5
    assert found["std"] == pytest.approx(1.2909944)
    # Student's t with 3 degrees of freedom: 3.182446.
    assert found["ci95"] == pytest.approx([2.5 - 2.0542, 2.5 + 2.0542], abs=1e-3)
    assert found["count"] == 4
    assert describe([]) == {"mean": None, "std": None, "ci95": None, "count": 0}


ROWS = [
    Row("a", {"STOI": 0.5, "SSNR": 1.0}),
    Row("b", {"STOI": 0.7, "SSNR": 3.0}, cut=5),
    Row("c", {"SSNR": 8.0}, {"STOI": "too short"}),
    Row("d", fault="no reference"),
]


def test_summary_counts_and_means_by_condition() -> None:
    conditions = {"a": ("cafe", 10.0), "b": ("bus", 2.5), "c": ("cafe", 2.5)}
    summary = summarize(ROWS, ["STOI", "SSNR"], conditions)
    reasons = [failure["reason"] for failure in summary["failures"]]
    assert (summary["utterances"], reasons) == (4, ["STOI: too short", "no reference"])
    assert summary["metrics"]["STOI"]["mean"] == pytest.approx(0.6)
    assert summary["metrics"]["SSNR"]["count"] == 3
    found = summary["conditions"]
    assert list(found["snr"]) == ["2.5", "10", "unknown"]
    assert found["snr"]["2.5"] == {"utterances": 2, "STOI": 0.7, "SSNR": 5.5}
    assert found["noise"]["cafe"] == {"utterances": 2, "STOI": 0.5, "SSNR": 4.5}
    assert found["snr"]["unknown"] == {"utterances": 1, "STOI": None, "SSNR": None}
    assert list(found["noise"]) == ["bus", "cafe", "unknown"]
