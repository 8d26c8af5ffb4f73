import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from made_experiments import update

from featnorm_se.data.scp import enhanced_by, write_scp
from featnorm_se.errors import FeatnormError
from featnorm_se.files import mark_done, sha256_file
from featnorm_se.report.experiments import (
    Experiment,
    names_of_testsets,
    read_curves,
    read_experiments,
    short_labels,
)
from featnorm_se.report.page import TestSet, build_page
from featnorm_se.report.paired import compare_folders
from featnorm_se.report.results import (
    caveats,
    details,
    results_markdown,
    results_table,
    results_text,
)

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


def test_rows_name_their_weights_and_what_is_outdated_is_left_out(expdir, capsys) -> None:
    folder = expdir / "tera_none"
    weights, wav, path = folder / "best.pth", folder / "a.wav", folder / "scores_test/summary.json"
    summary, record = json.loads(path.read_text()), {"weights": "best.pth", "window": 9}
    (folder / "enhanced_test").mkdir()
    write_scp(folder / "enhanced_test/spk1.scp", {"a": str(wav)})

    def enhance(content: bytes, **more: Any) -> list[dict[str, Any]]:
        weights.write_bytes(content)
        mark_done(wav, {"model": sha256_file(weights), **record, **more, "source": 1})
        return enhanced_by([str(wav)])

    def score(**more: Any) -> None:
        path.write_text(json.dumps({**summary, **more}))

    made = enhance(b"first")
    score(enhanced_with=made)
    found = dict(details(read_experiments(expdir)[1]))["enhanced test with"]
    assert found == f"model {sha256_file(weights)}, weights best.pth, window 9"
    score()  # as by an earlier version
    assert read_experiments(expdir)[1].summaries
    weights.write_bytes(b"second")
    assert read_experiments(expdir)[1].summaries == {}
    assert "tera_none/scores_test is of other weights or files" in capsys.readouterr().err
    with pytest.raises(FeatnormError, match="no scores in .*tera_none/scores_test that count"):
        compare_folders(expdir / "noisy", [folder], ["STOI"])
    score(enhanced_with=made)
    for content, window in (b"second", 9), (b"second", 5):  # and scoring was killed
        made = enhance(content, window=window)
        assert read_experiments(expdir)[1].summaries == {}
        score(enhanced_with=made)
        assert read_experiments(expdir)[1].summaries


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


FN = {"upstream": "tera", "norm": "utterance", "norm_site": "projection", "seed": 0}


@pytest.mark.parametrize(
    ("other", "label"),
    [
        ({**FN, "norm": "none"}, "tera none"),
        ({**FN, "norm_site": "layer.3"}, "tera utterance layer.3"),
        ({**FN, "seed": 1}, "tera utterance projection pre-trained seed 1"),
        (FN, "folder1"),
        ({}, "folder1"),
    ],
)
def test_labels_have_only_what_tells_experiments_apart(other: dict[str, Any], label: str) -> None:
    models = [Experiment(f"folder{i}", Path(), run) for i, run in enumerate((FN, other))]
    labels = short_labels([Experiment("noisy", Path()), *models])
    assert (labels["noisy"], labels["folder1"]) == ("noisy", label)


# ---- RESULTS.md


def test_a_row_an_experiment(expdir: Path) -> None:
    heading, *rows = results_table(read_experiments(expdir), "test")
    assert heading == [
        *("model", "upstream", "weights", "norm", "site"),
        *("PESQ_WB", "STOI", "SI_SDR", "parameters", "training"),
    ]
    assert rows[0][:5] == ["noisy", "", "", "", ""] and rows[0][-2:] == ["", ""]
    assert rows[1][:5] == ["tera_none", "tera", "scratch", "none", "projection"]
    assert rows[1][-2:] == ["41,234 (41,000 trained)", "0:03:12"]
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


def test_markdown_says_what_the_rows_stand_on(expdir: Path) -> None:
    config = {"separator_conf": {"feature": "layer.1", "freeze": "cnn"}}
    figure = {"name": "valid_pesq_wb", "wrapper_conf": {"weight": 0.0}}
    config["criterions"] = [{"name": "si_snr"}, figure]
    update(expdir / "tera_none" / "run.json", config=config)
    text = results_markdown(read_experiments(expdir), "Results of mini")
    assert text.startswith("# Results of mini\n")
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len(table) == 5
    assert len({line.replace("\\|", "").count("|") for line in table}) == 1
    for line in (
        "- command: `./run.sh --upstream tera --norm utterance`",
        "- commit: 0123abc (clean)",
        "- seed: 0",
        "- upstream identity: sha256 feed",
        "- data: resampler soxr VHQ",
        *("- feature: layer.1", "- freeze: cnn", "- loss: si_snr\n"),
        "torch 2.13.0",
        "- machine: cpu some \\| cpu, cores 2",
        "utterances 12, pesq 0.0.4, pystoi 0.4.1",
        "Means over 12 utterances: PESQ_WB (MOS-LQO)",
        "PESQ, in CSIG, CBAK and COVL too, is P.862 without Corrigendum 2 (package pesq).",
    ):
        assert line in text
    assert "Not all rows" not in text


def test_rows_of_other_recordings_of_the_same_names_are_told(expdir: Path, capsys) -> None:
    for name, heard in (("noisy", "new"), ("tera_utterance", "new"), ("tera_none", "old")):
        made = [{"model": "m"}] if name != "noisy" else []
        update(expdir / name / "scores_test/summary.json", input=heard, enhanced_with=made)
    assert "Not all rows" in results_text(read_experiments(expdir))
    differences = TestSet("test", read_experiments(expdir)).differences("STOI")
    assert [*differences] == ["tera utterance\n less noisy"]
    noisy, old, new = (expdir / name for name in ("noisy", "tera_none", "tera_utterance"))
    capsys.readouterr()
    assert compare_folders(noisy, [new], ["STOI"]) and "warning" not in capsys.readouterr().err
    assert compare_folders(noisy, [new, old], ["STOI"])
    assert f"{old} and {noisy} go back to test pairs of other times" in capsys.readouterr().err
    shutil.copytree(old, expdir / "b" / new.name)  # another place's, of the same name
    (label,) = compare_folders(new, [expdir / "b" / new.name], ["STOI"])["STOI"]
    assert label == f"{expdir / 'b' / new.name}\nless {new}"
    update(old / "scores_test/summary.json", enhanced_with=[])  # of what another program made
    assert "Not all rows" not in results_text(read_experiments(expdir))
    for name, clean in ((noisy, "mended"), (new, "mended"), (old, "")):  # "" is not known
        update(name / "scores_test/summary.json", clean=clean)
    assert "Not all rows" not in results_text(read_experiments(expdir))
    update(old / "scores_test/summary.json", clean="as it was")
    assert "Not all rows go back to the same test pairs" in results_text(read_experiments(expdir))
    update(old / "scores_test/summary.json", clean="mended")
    assert "Not all rows" not in results_text(read_experiments(expdir))


def test_rows_of_other_settings_or_training_data_are_told(expdir: Path, capsys) -> None:
    none, fn = expdir / "tera_none", expdir / "tera_utterance"
    for folder, limit in ((none, None), (fn, 6.0)):
        made = [{"model": folder.name, "config": "1", "weights": "b.pth", "atten_lim": limit}]
        update(folder / "scores_test/summary.json", enhanced_with=made)
        update(
            folder / "run.json",
            data_sources={"train": "1", "valid": "2", "test": str(limit)},
            max_epoch=3,
        )
    assert caveats(read_experiments(expdir), "test") == [
        "Not all rows were enhanced with the same settings."
    ]
    assert compare_folders(none, [fn], ["STOI"])
    assert "were enhanced with other settings" in capsys.readouterr().err
    update(fn / "run.json", data_sources={"train": "1", "valid": "3"}, max_epoch=9)
    update(none / "scores_test/summary.json", enhanced_with=made)
    assert caveats(read_experiments(expdir), "test") == [
        "Not all rows were trained on the same recordings.",
        "Not all rows were trained with the same max_epoch.",
    ]
    assert compare_folders(none, [fn], ["STOI"])
    assert "were trained with another max_epoch each" in capsys.readouterr().err
    assert "**Not all rows were trained on" in results_markdown(read_experiments(expdir), "T")


@pytest.mark.parametrize("change", [("test_03,", "other_03,"), ("0.815000", "")])
def test_rows_of_other_utterances_are_told(expdir: Path, change: tuple[str, str]) -> None:
    """Of another data folder; or without a score where the model muted what it found hard."""
    path = expdir / "tera_none/scores_test/scores.csv"
    path.write_text(path.read_text().replace(*change, 1))
    experiments = read_experiments(expdir)
    assert "**Not all rows are of the same utterances" in results_markdown(experiments, "T")
    assert "**Not all rows are of the same utterances" in results_text(experiments)
    assert " Not all rows are of the same utterances" in build_page(experiments, "no data", "T")
    assert ("STOI: over fewer utterances, since some have no" in results_text(experiments)) == (
        not change[1]
    )


def test_a_training_that_has_not_finished_is_marked(expdir: Path, capsys) -> None:
    update(expdir / "tera_none/run.json", finished=None, result={"status": "running"})
    rows = results_table(read_experiments(expdir), "test")
    assert [row[-1] for row in rows if row[0].startswith("tera")].count("unfinished") == 1
    assert "tera_none has not ended its training" in capsys.readouterr().err


def test_a_dirty_tree_and_failures_are_named(expdir: Path) -> None:
    counts = {"train": {"pairs": 4, "left_out": 2}, "test": {"pairs": 6, "left_out": 0}}
    update(expdir / "tera_none/run.json", dirty=True, data={"counts": counts})
    failures = [{"utt_id": "test_03", "reason": "silent"}]
    update(expdir / "tera_none/scores_test/summary.json", failures=failures)
    found = dict(details(read_experiments(expdir)[1]))
    assert found["commit"] == "0123abc (dirty: the tree had changes)"
    assert "1 without a full score (test_03)" in found["scored on test"]
    assert "train 4 pairs, 2 left out (" in found["data"] and "test 6 pairs (" in found["data"]
