import json
import os
import shutil
from pathlib import Path

from featnorm_se.data.scp import write_scp
from featnorm_se.files import mark_done, sha256_file
from featnorm_se.report.experiments import (
    Experiment,
    names_of_testsets,
    read_curves,
    read_experiments,
    read_scores,
)
from featnorm_se.report.results import details, results_markdown, results_table

LINE = (
    "[host] 2026-11-22 14:35:39,172 (trainer:394) INFO: {epoch}epoch results: [train]"
    " iter_time=0.033, log1p_l1=0.9, loss={train}, optim0_lr0=1.350e-04, time=31 seconds,"
    " total_count=24, [valid] log1p_l1=0.8, loss={valid}, time=5.36 seconds, [att_plot]"
    " time=1.17 seconds, total_count=0\n"
)


def test_noisy_first_and_only_what_counts(expdir: Path) -> None:
    for status in ("failed", "running", "trained"):  # the first two ended no epoch
        (expdir / status).mkdir()
        record = {"upstream": "tera", "finished": None, "result": {"status": status}}
        (expdir / status / "run.json").write_text(json.dumps(record))
    (expdir / "trained" / "1epoch.pth").touch()
    found = read_experiments(expdir)
    names = ["noisy", "tera_none", "tera_utterance", "trained"]
    assert [experiment.name for experiment in found] == names
    assert found[0].is_noisy and found[0].run == {}
    assert found[1].start == "scratch"
    assert Experiment("x", Path(), {"upstream": "wavlm"}).start == "pre-trained"
    assert found[2].mean("test", "PESQ_WB") > found[1].mean("test", "PESQ_WB")  # type: ignore
    assert found[1].mean("test", "COVL") is None
    assert found[1].mean("other", "PESQ_WB") is None
    assert len(found[1].scores("test")) == 12
    assert names_of_testsets(found) == ["test"]


def test_rows_name_their_weights_and_scores_of_earlier_ones_are_left_out(expdir, capsys) -> None:
    weights, wav = expdir / "tera_none/best.pth", expdir / "tera_none/enhanced_test/wav/a.wav"
    weights.write_bytes(b"first")
    write_scp(wav.parents[1] / "spk1.scp", {"a": str(wav)})
    mark_done(wav, {"model": sha256_file(weights), "weights": "best.pth", "window": 9, "source": 1})
    found = dict(details(read_experiments(expdir)[1]))["enhanced test with"]
    assert found == f"model {sha256_file(weights)}, weights best.pth, window 9"
    weights.write_bytes(b"second")
    assert read_experiments(expdir)[1].summaries == {}
    assert "tera_none/scores_test/summary.json is of an earlier best.pth" in capsys.readouterr().err


def test_scores_leave_empty_cells_out(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text("utt_id,PESQ_WB,STOI,reason\na,1.5,,too short\nb,,,gone\n")
    assert read_scores(path) == {"a": {"PESQ_WB": 1.5}, "b": {}}


def test_curves_take_an_epoch_as_it_was_done_last(tmp_path: Path) -> None:
    assert read_curves(tmp_path) == {}
    old, new = tmp_path / "train.1.log", tmp_path / "train.log"
    noise = "(trainer:811) INFO: 1epoch:train:1-20batch: loss=9.9\n"
    old.write_text(LINE.format(epoch=1, train="1", valid="1") * 2 + noise)
    os.utime(old, (1, 1))
    text = LINE.format(epoch=1, train="0.7", valid="0.8")
    new.write_text(text + LINE.format(epoch=2, train="4.0e-01", valid="nan"))
    curves = read_curves(tmp_path)
    assert list(curves) == ["train", "valid"]
    assert curves["train"] == [(1, 0.7), (2, 0.4)]
    assert curves["valid"][0] == (1, 0.8) and curves["valid"][1][1] != curves["valid"][1][1]


# ---- RESULTS.md


def test_a_row_an_experiment(expdir: Path) -> None:
    heading, *rows = results_table(read_experiments(expdir), "test")
    assert heading == [
        *("model", "upstream", "weights", "norm", "site"),
        *("PESQ_WB", "STOI", "SI_SDR", "parameters", "training"),
    ]
    assert rows[0][:5] == ["noisy", "", "", "", ""] and rows[0][-2:] == ["", ""]
    assert rows[1][:5] == ["tera_none", "tera", "scratch", "none", "projection"]
    assert rows[1][-2:] == ["41,234", "3 min 12 s"]
    mean = json.loads((expdir / "tera_none/scores_test/summary.json").read_text())
    assert rows[1][5] == f"{mean['metrics']['PESQ_WB']['mean']:.3f}"
    # What is missing leaves its cell empty.
    shutil.rmtree(expdir / "tera_none/scores_test")
    path = expdir / "tera_utterance/scores_test/summary.json"
    summary = json.loads(path.read_text())
    del summary["metrics"]["STOI"]
    path.write_text(json.dumps(summary))
    rows = results_table(read_experiments(expdir), "test")
    assert rows[2][5:8] == ["", "", ""]
    assert rows[3][5] and rows[3][6] == "" and rows[3][7]


def test_markdown_has_a_row_for_each_and_says_when_utterances_differ(expdir: Path) -> None:
    text = results_markdown(read_experiments(expdir), "Results of mini")
    assert text.startswith("# Results of mini\n")
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len(table) == 5
    assert len({line.replace("\\|", "").count("|") for line in table}) == 1
    assert "same utterances" not in text
    path = expdir / "tera_none/scores_test/scores.csv"  # as many of another data folder
    path.write_text(path.read_text().replace("test_03", "other_03"))
    assert "**Not all rows are of the same utterances" in results_markdown(
        read_experiments(expdir), "T"
    )


def test_a_dirty_tree_and_failures_are_named(expdir: Path) -> None:
    path = expdir / "tera_none/run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "dirty": True}))
    path = expdir / "tera_none/scores_test/summary.json"
    failures = [{"utt_id": "test_03", "reason": "silent"}]
    path.write_text(json.dumps({**json.loads(path.read_text()), "failures": failures}))
    found = dict(details(read_experiments(expdir)[1]))
    assert found["commit"] == "0123abc (dirty: the tree had changes)"
    assert "1 without a full score (test_03)" in found["scored on test"]
