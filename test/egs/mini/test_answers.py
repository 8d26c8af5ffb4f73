"""The answers of a grid: questions from a file, values from runs that are there, and no others."""

import csv
from pathlib import Path

import answers
import numpy as np
import pytest
import soundfile
import torch
from made_scores import write_scores
from rows import Setting, read_rows
from study.answers import read_questions, read_runs, reply, tell_missing, to_markdown

from featnorm_se.metrics.worker import Row

MINI = Path(__file__).parents[3] / "egs" / "mini" / "enh1"
UTTERANCES = [f"p257_{i:03d}" for i in range(24)]
NOISES, LEVELS = ("bus", "cafe"), (2.5, 7.5, 12.5, 17.5)
COMPARISONS = """
"Does it help?":
    - {name: "fn | none", a: t_pretrained_fn, b: t_pretrained_none}
    - {name: gain, a: t_pretrained_fn, b: t_pretrained_none, minus: [t_scratch_fn, t_scratch_none]}
"Others":
    - {name: over the input, a: t_pretrained_none, b: noisy}
    - {name: never run, a: t_pretrained_mix, b: t_pretrained_none}
"""


def snr(i: int) -> float:
    return LEVELS[i % 4]


def write_run(folder: Path, gain: float, slope: float = 0.0, seed: int = 0) -> None:
    """Scores of ``gain`` above a base, and of ``slope`` more a dB, with noise of the seed."""
    rng = np.random.default_rng(100 + seed)
    rows = []
    for i, name in enumerate(UTTERANCES):
        value = 1.5 + 0.05 * i + gain + slope * (snr(i) - 10.0) + rng.normal(0.0, 0.01)
        rows.append(Row(name, {"PESQ_WB": value, "STOI": 0.8 + 0.1 * gain}))
    write_scores(folder, rows)


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    """Three seeds of none, two of fn, one of the scratch rows; one run is still being scored."""
    exp = tmp_path / "exp"
    write_run(exp / "noisy", 0.0)
    for seed in range(3):
        write_run(exp / f"t_pretrained_none_seed{seed}", 0.3, seed=seed)
    for seed in range(2):
        write_run(exp / f"t_pretrained_fn_seed{seed}", 0.5, slope=-0.02, seed=10 + seed)
        log = "".join(
            f"{e}epoch results: [train] loss={2 / e}, [valid] loss={(1 + seed) / e}, time=1\n"
            for e in (1, 2)
        )
        (exp / f"t_pretrained_fn_seed{seed}" / "train.log").write_text(log)
        drift = exp / f"t_pretrained_fn_seed{seed}" / "features" / "drift.csv"
        drift.parent.mkdir()
        drift.write_text(f"layer,cka,cosine\nlayer.1,{0.9 + 0.02 * seed},1\nlayer.2,0.5,1\n")
    write_run(exp / "t_scratch_fn_seed0", 0.4)
    write_run(exp / "t_scratch_none_seed0", 0.3, seed=1)
    write_run(exp / "t_pretrained_mix_seed0", 0.4)
    (exp / "t_pretrained_mix_seed0/scores_test/summary.json").unlink()
    (tmp_path / "comparisons.yaml").write_text(COMPARISONS)
    lines = [f"{name} {NOISES[i // 4 % 2]} {snr(i)}" for i, name in enumerate(UTTERANCES)]
    (tmp_path / "log.txt").write_text("\n".join(lines) + "\n")
    return exp


def test_what_is_there_is_answered_and_the_rest_is_named(grid: Path) -> None:
    questions = read_questions(grid.parent / "comparisons.yaml")
    tags = [tag for question in questions for _, tag in question.weights]
    runs = read_runs(grid, tags, [0, 1, 2])
    fn, gain, noisy, never = (reply(question, runs) for question in questions)
    assert (fn.seeds, gain.seeds, noisy.seeds, never.seeds) == ([0, 1], [0], [0, 1, 2], [])
    told = fn.estimates["PESQ_WB"]
    assert told.mean == pytest.approx(0.2, abs=0.02) and told.low < told.mean < told.high
    assert fn.drift is None
    drifts = {"t_pretrained_fn": {0: 0.8, 1: 0.9, 2: 0.9}, "t_pretrained_none": {0: 0.7, 1: 0.7}}
    moved = reply(questions[0], runs, drifts).drift
    assert moved.mean == pytest.approx(0.15) and moved.low < 0 < moved.high
    assert fn.up == {"PESQ_WB": 2, "STOI": 2}
    assert gain.estimates["PESQ_WB"].mean == pytest.approx(0.1, abs=0.02)
    assert gain.estimates["STOI"].mean == pytest.approx(0.01)
    assert never.estimates == {}
    missing = tell_missing(runs, [0, 1, 2])
    assert "t_pretrained_fn: no seed 2" in missing
    assert "t_pretrained_mix: no seed was run" in missing
    text = to_markdown([fn, gain, noisy, never], missing)
    assert "fn \\| none | 2 | +0." in text and "- t_pretrained_mix: no seed was run" in text


def test_the_recipe_compares_rows_that_the_grid_has() -> None:
    questions = read_questions(MINI / "conf" / "comparisons.yaml")
    cards = str(MINI / "conf" / "upstream")
    setting = Setting(config="conf/mini_grid.yaml", conf_dir=cards)
    known = {
        row.tag(0).removesuffix("_seed0")
        for table in ("claim", "crops", "large", "upstreams", "sites", "norms")
        for row in read_rows(MINI / "conf" / "tables" / f"{table}.yaml", setting)
    }
    asked = {tag for question in questions for _, tag in question.weights}
    assert {tag for tag in asked if not tag.endswith("_mini_long")} <= known


def test_the_script_writes_all_of_it(grid: Path) -> None:
    root = grid.parent
    stats = {epoch: {"train": {}, "valid": {"loss": 0.5 / epoch}} for epoch in (1, 2)}
    checkpoint = {
        "model": {},
        "reporter": {"epoch": 2, "stats": stats},
        "optimizers": [],
        "schedulers": [],
    }
    torch.save({**checkpoint, "scaler": None}, grid / "t_pretrained_none_seed0/checkpoint.pth")
    (root / "audio").mkdir()
    for i, name in enumerate(UTTERANCES):
        soundfile.write(root / "audio" / f"{name}.wav", np.zeros(16000 + 2400 * i), 16000)
    options = ["--expdir", grid, "--log_testset", root / "log.txt", "--audio", root / "audio"]
    options += ["--output", root / "out", "--comparisons", root / "comparisons.yaml"]
    options += ["--seeds", "0 1 2", "--gain", "t_pretrained_fn", "t_pretrained_none"]
    answers.main([str(option) for option in options])
    assert "never run" not in (root / "out" / "comparisons.md").read_text()
    for name in ("comparisons", "conditions", "curves", "drift"):
        assert (root / "out" / f"{name}.png").read_bytes().startswith(b"\x89PNG")

    def read(name: str) -> list[dict[str, str]]:
        with open(root / "out" / f"{name}.csv", encoding="utf-8", newline="") as handle:
            return list(csv.DictReader(handle))

    found = {(g["metric"], g["kind"], g["value"]): g for g in read("conditions")}
    low, high = (found["PESQ_WB", "SNR (dB)", level] for level in ("2.5", "17.5"))
    assert float(low["mean"]) == pytest.approx(0.35, abs=0.03)
    assert float(high["mean"]) == pytest.approx(0.05, abs=0.03)
    assert (low["seeds"], low["utterances"]) == ("2", "6")
    slope = found["PESQ_WB", "per dB", ""]
    assert float(slope["mean"]) == pytest.approx(-0.02, abs=0.003)
    assert float(slope["low"]) < float(slope["mean"]) < float(slope["high"]) < 0
    assert {value for _, kind, value in found if kind == "noise"} == {"bus", "cafe"}
    curves = {(c["row"], c["epoch"]): float(c["validation_loss"]) for c in read("curves")}
    assert curves["t_pretrained_fn", "2"] == pytest.approx(0.75)  # from the log
    assert curves["t_pretrained_none", "2"] == pytest.approx(0.25)  # from the checkpoint
    drift = read("drift")
    assert float(drift[0]["cka"]) == pytest.approx(0.91) and drift[0]["seeds"] == "2"
