"""Tables over seeds: rows from files, runs from rows, tables from what is there."""

from __future__ import annotations

import csv
import io
import json
import os
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tables
from estimate import Estimate, format_difference, one_more
from gather import gather
from made_experiments import run_record, update, write_scores
from rows import Setting, arguments, plan_runs, read_rows
from table_text import cells, to_csv, to_latex, to_markdown

from featnorm_se.errors import FeatnormError
from featnorm_se.report import paired
from featnorm_se.report.experiments import drift_file, read_scores
from featnorm_se.report.paired import compare, contrast, crossed_interval

SETTING = Setting(config="conf/tiny.yaml", conf_dir="")
HUBERT = Path(__file__).parents[1] / "upstream" / "huggingface" / "hubert_base"


TABLE = """
noisy: {upstream: noisy}
none: {upstream: tera, weights: scratch, norm: none, baseline: noisy}
fn: {upstream: tera, norm: utterance, weights: scratch, norm_site: auto, baseline: none}
low: {upstream: tera, norm: utterance, weights: pretrained, norm_site: projection}
mid: {upstream: tera, norm: utterance, weights: pretrained, norm_site: middle}
"""


@pytest.fixture
def rows_file(tmp_path: Path) -> Path:
    path = tmp_path / "tables" / "some.yaml"
    path.parent.mkdir()
    path.write_text(TABLE)
    return path


@pytest.fixture
def exp(tmp_path: Path) -> Path:
    """Three seeds of none, two of fn, and the noisy input."""
    folder = tmp_path / "exp"
    write_scores(folder / "noisy/scores_test", 0.0)
    gains = {"none": (0.30, 0.34, 0.29), "utterance_auto": (0.45, 0.41)}
    for norm, values in gains.items():
        for seed, gain in enumerate(values):
            name = f"tera_scratch_{norm}_tiny_seed{seed}"
            write_scores(folder / name / "scores_test", gain, seed=seed + len(norm))
            record = run_record(norm, training_seconds=100.0 + seed, finished="now")
            (folder / name / "run.json").write_text(json.dumps(record))
    return folder


def test_tags_are_those_of_a_single_run_and_doubles_fall_together(rows_file: Path) -> None:
    frozen = "frozen: {upstream: tera, weights: scratch, norm: none, config: conf/frozen.yaml}"
    rows_file.write_text(TABLE + frozen)
    rows = {row.name: row for row in read_rows(rows_file, SETTING)}
    assert rows["fn"].tag(2) == "tera_scratch_utterance_auto_tiny_seed2"
    assert rows["low"].tag(0) == "tera_pretrained_utterance_auto_tiny_seed0"
    assert rows["frozen"].tag(0) == "tera_scratch_none_frozen_seed0"
    assert rows["mid"].norm_site == "layer.2"
    options = arguments(rows["frozen"], 1)
    assert options[options.index("--upstream_ckpt") + 1] == "scratch"
    assert options[options.index("--config") + 1] == "conf/frozen.yaml"
    mine = Setting(ckpt_dir="/c", suffix="_tiny", conf_dir="")
    assert "/c/tera_tiny.pt" in arguments(read_rows(rows_file, mine)[3], 0)
    assert "" in arguments(rows["low"], 0)


def test_what_a_row_sets_is_in_its_name_its_run_and_the_table(rows_file, exp, capsys) -> None:
    over = "separator_conf.freeze=all max_epoch=2 optim_conf.betas=[0.5, 0.9]"
    own = f"own: {{upstream: tera, weights: scratch, norm: none, set: '{over}'}}"
    rows_file.write_text(TABLE + own)
    rows = read_rows(rows_file, SETTING)
    row, others = rows[-1], [one for one in rows[:-1] if one.weights != "pretrained"]
    own = "separator_conf.freeze=all_max_epoch=2_optim_conf.betas=0.5,0.9"
    tag = f"tera_scratch_none_tiny_seed0_{own}"
    assert row.tag(0) == tag
    assert arguments(row, 0)[-2:] == ["--set", over]
    write_scores(exp / tag / "scores_test", 0.1)
    done = {**run_record("none", finished="now"), "command": f"./run.sh --set a=1 --set '{over}'"}
    (exp / tag / "run.json").write_text(json.dumps(done))
    plan_runs([*others, row], [0], exp, given=["--set", "a=1"])
    assert tag not in capsys.readouterr().err
    plan_runs([*others, row], [0], exp)
    assert f"{tag} was trained with --set 'a=1 {over}'" in capsys.readouterr().err
    lines, _ = gather(rows, [0], exp)
    heading, *body = cells(lines)
    assert [line[heading.index("settings")] for line in body] == [""] * 5 + [over]
    table = list(csv.DictReader(io.StringIO(to_csv(lines))))
    assert table[-1]["settings"] == over and table[-1]["trainable"] == "41000"
    columns = to_latex(lines, "T").splitlines()[1].removeprefix(r"\begin{tabular}{")
    assert columns.startswith("llllllr")  # words to the left, the settings too
    assert to_markdown(lines, "T").splitlines()[5].startswith("| --- " * 6 + "| ---: |")
    rows_file.write_text(
        f"{TABLE}own: {{upstream: tera, weights: scratch, norm: none, config: b.yaml}}"
    )
    lines, _ = gather(read_rows(rows_file, SETTING), [0], exp)
    heading, *body = cells(lines)
    assert [line[heading.index("settings")] for line in body] == ["", *["tiny"] * 4, "b"]
    for wrong, told in (
        ("", "set is None"),
        ("{a: 1}", "set is {'a': 1}"),
        ("x=" + "y" * 200, "too"),
    ):
        rows_file.write_text(f"a: {{upstream: tera, weights: scratch, norm: none, set: {wrong}}}")
        with pytest.raises(FeatnormError, match=told):
            read_rows(rows_file, SETTING)


def test_rows_of_other_lengths_are_two_runs(rows_file, exp) -> None:
    row = "upstream: tera, weights: scratch, norm: none, set: max_epoch="
    rows_file.write_text(f"one: {{{row}1}}\ntwo: {{{row}2}}\n")
    runs = plan_runs(read_rows(rows_file, SETTING), [0], exp)
    assert [run["arguments"][-1] for run in runs] == ["max_epoch=1", "max_epoch=2"]


def test_a_table_has_the_differences_of_all_scores_and_counts_that_agree(rows_file, exp) -> None:
    (table, *_), rows = [exp / "tera_scratch_none_tiny_seed1"], read_rows(rows_file, SETTING)
    update(table / "run.json", parameters={"total": 5, "trainable": 5})
    lines = {line.row.name: line for line in gather(rows, [0, 1], exp)[0]}
    assert lines["none"].parameters == {} and "delta_SI_SDR" in lines["fn"].values
    (fn,) = (
        row for row in csv.DictReader(io.StringIO(to_csv([*lines.values()]))) if row["row"] == "fn"
    )
    assert float(fn["delta_SI_SDR"]) == pytest.approx(
        lines["fn"].values["delta_SI_SDR"].mean, abs=1e-6
    )


def test_a_folder_of_weights_says_how_many_layers_there_are(rows_file: Path, tmp_path) -> None:
    (tmp_path / "hubert").symlink_to(HUBERT)  # of two
    rows_file.write_text(
        "mid: {upstream: hubert, weights: pretrained, norm: utterance, norm_site: middle}"
    )
    (row,) = read_rows(rows_file, replace(SETTING, ckpt_dir=str(tmp_path)))
    assert (row.site, row.checkpoint) == ("layer.1", str(tmp_path / "hubert"))


def test_only_what_is_missing_is_planned(rows_file: Path, exp: Path, capsys, tmp_path) -> None:
    (exp / "tera_pretrained_utterance_auto_tiny_seed0").mkdir()
    record = exp / "tera_pretrained_utterance_auto_tiny_seed0" / "run.json"
    done = {"finished": "today", "upstream_ckpt": None, "command": "./run.sh --set a=1 --set b=2"}
    record.write_text(json.dumps(done))
    rows = read_rows(rows_file, SETTING)
    plan_runs(rows, [0], exp, given=["--set", "a=1 b=2"])
    assert record.parent.name not in capsys.readouterr().err
    for now in ["--set", "a=1 b=3"], []:  # nobody is told another run's numbers for these
        plan_runs(rows, [0], exp, given=now)
        told = f"{record.parent} was trained with --set 'a=1 b=2', now it is '{' '.join(now[1:])}'"
        assert told in capsys.readouterr().err
    (tmp_path / "data").mkdir()
    prepared = {"sources": {"train": "1", "valid": "2", "test": "3"}}
    (tmp_path / "data" / "prepare.json").write_text(json.dumps(prepared))
    for train, told in (("1", False), ("0", True)):
        sources = {"train": train, "valid": "2", "test": "0"}
        record.write_text(json.dumps({**done, "data_sources": sources}))
        plan_runs(rows, [0], exp, datadir=tmp_path / "data")
        assert ("was trained on other recordings than" in capsys.readouterr().err) == told
    config = tmp_path / "tiny.yaml"
    config.write_text("max_epoch: 9\noptim_conf: {lr: 0.1}\na: 2\ncriterions: [{name: x}]\n")
    done["config"] = {"max_epoch": 9, "optim_conf": {"lr": 0.1, "eps": 1}, "a": 1, "z": 0}
    done["config"] |= {"criterions": [{"name": "x"}, {"name": "valid_si_snr"}]}  # by stage 3
    record.write_text(json.dumps(done))
    edited = read_rows(rows_file, replace(SETTING, config=str(config)))
    text = config.read_text()
    for new, told in (
        (text, ""),
        (text.replace("9", "8"), "max_epoch 9, now it is 8"),
        (text.replace("x}", "y}"), "criterions [{'name': 'x'}], now it is [{'name': 'y'}]"),
    ):
        config.write_text(new)
        plan_runs(edited, [0], exp, given=["--set", "a=1 b=2"])
        assert told in (err := capsys.readouterr().err)
        assert err.count(record.parent.name) == bool(told)
    record.write_text(json.dumps({"finished": "today"}))
    refused = exp / "tera_scratch_none_tiny_seed1/scores_test/summary.json"
    update(refused, failures=[{"utt_id": "u", "reason": "silent"}])
    other = exp / "tera_scratch_none_tiny_seed2"
    (other / "best.pth").write_bytes(b"trained longer")
    made = [{"model": "0", "weights": "best.pth"}]
    update(other / "scores_test/summary.json", enhanced_with=made)
    runs = plan_runs(rows, [0, 1, 2], exp, "test")
    stages = {run["tag"]: run["stage"] for run in runs}
    assert stages == {
        "tera_pretrained_utterance_auto_tiny_seed0": 4,
        "tera_pretrained_utterance_layer.2_tiny_seed0": 2,
        "tera_scratch_none_tiny_seed1": 4,
        "tera_scratch_none_tiny_seed2": 4,
        "tera_pretrained_utterance_auto_tiny_seed1": 2,
        "tera_pretrained_utterance_layer.2_tiny_seed1": 2,
        "tera_scratch_utterance_auto_tiny_seed2": 2,
        "tera_pretrained_utterance_auto_tiny_seed2": 2,
        "tera_pretrained_utterance_layer.2_tiny_seed2": 2,
    }


@pytest.mark.parametrize(
    ("visible", "count", "wanted"),
    [
        ("", 1, ["0", "1", "2", "3", "0"]),  # of five at once the last shares one
        ("", 3, ["0,1,2"] * 5),
        ("GPU-a,GPU-b,GPU-c,GPU-d,", 2, ["GPU-a,GPU-b", "GPU-c,GPU-d"] * 2 + ["GPU-a,GPU-b"]),
        ("7", 1, ["7"] * 5),  # as a queue gives a job its own
        ("7", 0, ["7"] * 5),
    ],
)
def test_rows_at_once_take_gpus_of_their_own(monkeypatch, tmp_path, visible, count, wanted) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    with ExitStack() as held:
        rows = [tables.own_gpus(tmp_path, number, count) for number in range(1, 6)]
        found = [held.enter_context(row)["CUDA_VISIBLE_DEVICES"] for row in rows]
    assert found == wanted


def test_a_row_takes_the_gpu_that_is_free(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.sh").write_text('#!/bin/sh\necho "$CUDA_VISIBLE_DEVICES" > seen\n')
    (tmp_path / "run.sh").chmod(0o755)
    run = {"tag": "a", "stage": 2, "arguments": [], "drift": False}
    (tmp_path / "plan.json").write_text(json.dumps([run, run]))
    words = ["--plan", str(tmp_path / "plan.json"), "--ngpu", "1", "--run", "2"]
    with tables.own_gpus(tmp_path, 1, 1):
        for gpu in ("5", "4"):
            with suppress(SystemExit):
                tables.main(words)
            assert (tmp_path / "seen").read_text() == f"{gpu}\n"
            (tmp_path / "gpu_0.lock").unlink()  # as if the first one had ended


def test_another_checkpoint_than_a_row_was_trained_with_is_told(
    rows_file: Path, exp: Path, capsys, tmp_path
) -> None:
    done = {"finished": "today", "upstream_ckpt": None, "command": "./run.sh"}
    (exp / "tera_pretrained_utterance_auto_tiny_seed0").mkdir()
    record = exp / "tera_pretrained_utterance_auto_tiny_seed0" / "run.json"
    record.write_text(json.dumps(done))
    mine = read_rows(rows_file, replace(SETTING, ckpt_dir=str(tmp_path)))
    plan_runs(mine, [0], exp)
    assert f"there is no checkpoint {tmp_path}/tera.pt yet" in capsys.readouterr().err
    (tmp_path / "tera.pt").touch()
    plan_runs(mine, [0], exp)
    told = f"with --upstream_ckpt '', now it is '{tmp_path}/tera.pt'"
    assert told in capsys.readouterr().err


def test_scores_of_older_test_pairs_are_made_again(rows_file: Path, exp: Path, capsys) -> None:
    """Those pairs were made anew, and one row was scored on them, beside the noisy one."""
    rows, fn = read_rows(rows_file, SETTING), "tera_scratch_utterance_auto_tiny_seed1"
    for name, heard in ((fn, "old"), ("tera_scratch_none_tiny_seed1", "new"), ("noisy", "new")):
        update(exp / name / "scores_test/summary.json", input=heard, enhanced_with=[{"model": ""}])
        (exp / name / "run.json").write_text(json.dumps({"finished": "today"}))
    stages = {run["tag"]: run["stage"] for run in plan_runs(rows, [1], exp)}
    assert stages[fn] == 4 and "tera_scratch_none_tiny_seed1" not in stages
    capsys.readouterr()
    both, one = ({row.row.name: row for row in gather(rows, s, exp)[0]} for s in ([0, 1, 2], [0]))
    assert both["fn"].seeds == 2 and both["fn"].values["delta_STOI"].mean == pytest.approx(
        one["fn"].values["delta_STOI"].mean
    )
    assert "Not all rows go back to the same test pairs" in capsys.readouterr().err
    # Nothing was scored since.
    (exp.parent / "data" / "test").mkdir(parents=True)
    (exp.parent / "data" / "test" / "wav.scp").touch()
    os.utime(exp / "noisy/scores_test/summary.json", (0, 0))
    runs = plan_runs(rows, [0, 1, 2], exp, datadir=exp.parent / "data")
    scored = {path.parents[1].name for path in exp.glob("tera*/scores_test/summary.json")}
    assert {run["tag"] for run in runs if run["stage"] == 4} == scored and len(scored) == 5


def test_decoding_options_are_held_against_what_is_done(rows_file: Path, exp: Path) -> None:
    rows = read_rows(rows_file, SETTING)
    first = {one["tag"] for one in plan_runs(rows, [0, 1, 2], exp)}
    scored = plan_runs(rows, [0, 1, 2], exp, given=["--metrics", "STOI"])
    assert {one["tag"] for one in scored} == first
    for words in (["--metrics", "STOI SDR"], ["--inference-config", "x"]):
        runs = plan_runs(rows, [0, 1, 2], exp, given=words)
        assert {run["stage"] for run in runs} == {2, 4} and {one["tag"] for one in runs} > first


def test_a_pretrained_row_needs_weights_to_be_trained(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text("a: {upstream: tera_tiny, weights: pretrained, norm: none}")
    rows = read_rows(tmp_path / "one.yaml", SETTING)
    with pytest.raises(FeatnormError, match="there are no official weights of tera_tiny"):
        plan_runs(rows, [0], tmp_path)


def test_values_are_means_over_seeds_and_differences_are_paired(rows_file, exp) -> None:
    lines = {ln.row.name: ln for ln in gather(read_rows(rows_file, SETTING), [0, 1, 2], exp)[0]}
    none, fn = lines["none"], lines["fn"]
    assert (none.seeds, fn.seeds, lines["noisy"].seeds) == (3, 2, 1)
    means = []
    for seed in range(3):
        table = read_scores(exp / f"tera_scratch_none_tiny_seed{seed}/scores_test/scores.csv")
        means.append(np.mean([row["PESQ_WB"] for row in table.values()]))
    estimate = none.values["PESQ_WB"]
    assert estimate.mean == pytest.approx(np.mean(means), abs=1e-6)
    # Student's t for two degrees of freedom.
    half = 4.302653 * np.std(means, ddof=1) / np.sqrt(3)
    assert estimate.high - estimate.mean == pytest.approx(half, rel=1e-4)
    assert one_more(lines["noisy"].values["PESQ_WB"], 1) is None
    # The seeds that both have.
    runs = [
        {
            s: read_scores(exp / f"tera_scratch_{norm}_tiny_seed{s}/scores_test/scores.csv")
            for s in range(2)
        }
        for norm in ("utterance_auto", "none")
    ]
    terms = list(zip((1, -1), runs, strict=True))
    paired = contrast(terms, "PESQ_WB")
    delta = fn.values["delta_PESQ_WB"]
    assert (delta.mean, delta.low, delta.high) == (paired.mean, *paired.interval)
    assert 0.05 < delta.mean < 0.2
    # Two seeds, 0.15 and 0.07 apart from the baseline's: they leave its sign open.
    assert delta.low < 0 < delta.high
    assert lines["noisy"].values["PESQ_WB"].low is None
    assert none.parameters["total"] == 41234 and none.seconds == pytest.approx(101.0)


def test_cells_that_were_not_run_stay_empty(rows_file, exp) -> None:
    lines, _ = gather(read_rows(rows_file, SETTING), [0, 1, 2], exp)
    heading, *body = cells(lines)
    assert [row[5] for row in body[:3]] == ["1", "3", "2 of 3"]
    empty = body[3]
    assert empty[:6] == ["low", "tera", "pretrained", "utterance", "projection", ""]
    assert all(cell == "" for cell in empty[5:])
    ends = body[1][heading.index("one more run: PESQ_WB")].split(" to ")
    assert float(ends[0]) < lines[1].values["PESQ_WB"].low < float(ends[1])
    table = list(csv.DictReader(io.StringIO(to_csv(lines))))
    assert table[3]["PESQ_WB"] == "" and table[3]["parameters"] == ""
    assert float(table[1]["PESQ_WB"]) == pytest.approx(lines[1].values["PESQ_WB"].mean, abs=1e-6)
    assert table[0]["PESQ_WB_one_more_low"] == ""
    assert float(table[1]["PESQ_WB_one_more_low"]) == pytest.approx(float(ends[0]), abs=0.001)
    assert table[0]["PESQ_WB_low"] == "" and table[1]["delta_PESQ_WB_low"] != ""
    latex = to_latex(lines, "T")
    assert "±" in body[1][6] and body[1][6] in to_markdown(lines, "T")
    assert body[1][6].replace("±", "$\\pm$") in latex and "PESQ\\_WB" in latex
    (_, noisy), latex = cells(lines[:1]), to_latex(lines[:1], "T")
    shown = latex.split("toprule\n")[1].splitlines()[0].count(" & ") + 1
    assert shown == sum(map(bool, noisy)) < len(noisy)
    assert "row & upstream & " in to_latex([], "T")


def test_drift_is_read_when_every_run_has_it(rows_file, exp) -> None:
    for seed in (0, 1):
        path = drift_file(exp / f"tera_scratch_utterance_auto_tiny_seed{seed}")
        path.parent.mkdir()
        path.write_text("layer,cka,cosine\nlayer.1,0.9,0.8\nlayer.2,0.7,0.6\n")
    assert "1: nothing has moved" in to_markdown([], "T", True)
    assert "nothing has moved" not in to_markdown([], "T") + to_latex([], "T")
    other = drift_file(exp / "tera_scratch_none_tiny_seed0")
    other.parent.mkdir()
    other.write_text("layer,cka,cosine\n1,1,1\n")
    rows = read_rows(rows_file, SETTING)
    missing = [run for run in plan_runs(rows, [0, 1], exp, drift=True) if run["stage"] == 5]
    assert [run["tag"] for run in missing] == ["tera_scratch_none_tiny_seed1"]
    assert missing[0]["drift"]
    lines = {ln.row.name: ln for ln in gather(rows, [0, 1], exp)[0]}
    drift = lines["fn"].values
    assert drift["cka"].mean == pytest.approx(0.8)
    assert drift["last_cosine"].mean == pytest.approx(0.6)
    assert "cka" not in lines["none"].values


# ---- differences over utterances and seeds


def test_the_interval_is_that_of_the_mean_and_repeats() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(0.3, 1.0, 400)
    first = {str(i): {"SSNR": 0.0} for i in range(400)}
    second = {str(i): {"SSNR": value} for i, value in enumerate(values)}
    low, high = compare(first, second, "SSNR").interval
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)
    assert (low, high) == compare(first, second, "SSNR").interval
    # Of few utterances it is as wide as Student's, 2.78 deviations of a mean of five.
    five = rng.normal(0.3, 1.0, (1, 5))
    low, high = crossed_interval(five)
    assert high - low == pytest.approx(2 * 2.776 * five.std(ddof=1) / 5**0.5, rel=0.15)


def simulate(rng: np.random.Generator, seeds: int, of_seed: float, utterances: int = 60):
    """Differences whose true mean is 0: a part of the seed, one of the utterance, and a rest."""
    return (
        rng.normal(0.0, of_seed, (seeds, 1))
        + rng.normal(0.0, 0.30, (1, utterances))
        + rng.normal(0.0, 0.10, (seeds, utterances))
    )


def test_an_interval_over_seeds_and_utterances_covers_the_truth(monkeypatch) -> None:
    monkeypatch.setattr(paired, "RESAMPLES", 400)
    rng = np.random.default_rng(2)
    hits = 0
    for _ in range(120):
        low, high = crossed_interval(simulate(rng, 3, 0.1))
        hits += low <= 0.0 <= high
    assert 0.90 <= hits / 120 <= 0.995


def test_a_contrast_is_paired_by_seed_and_utterance() -> None:
    def table(**values):
        return {name: {"STOI": value} for name, value in values.items()}

    fn = {0: table(a=0.5, b=0.7, x=1.0), 1: table(a=0.6, b=0.9), 7: table(a=0.0, b=0.0)}
    none = {1: table(a=0.5, b=0.6), 0: table(b=0.6, a=0.5)}
    found = contrast([(1, fn), (-1, none)], "STOI")
    assert (found.seeds, found.utterances) == ([0, 1], ["a", "b"])
    assert found.values == pytest.approx(np.array([[0.0, 0.1], [0.1, 0.3]]))
    assert found.wins_ties_losses == (3, 1, 0)
    assert found.mean == pytest.approx(0.125)
    twice = contrast([(1, fn), (-1, none), (-1, fn), (1, none)], "STOI")
    assert twice.values == pytest.approx(np.zeros((2, 2)))


def test_an_end_that_rounds_to_zero_says_on_which_side_it_is():
    assert format_difference(Estimate(0.0, -0.00001, 0.002), 3) == "0.0000 [-0.0000, +0.0020]"
