from __future__ import annotations

import json
import shutil
from pathlib import Path

from featnorm_se.report.experiments import read_experiments
from featnorm_se.report.results import (
    details,
    results_markdown,
    results_table,
    results_text,
)


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


def test_markdown_says_what_the_rows_stand_on(expdir: Path) -> None:
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
        "torch 2.13.0",
        "- machine: cpu some \\| cpu, cores 2",
        "12 utterances; pesq 0.0.4, pystoi 0.4.1",
        "Means over 12 utterances: PESQ_WB (MOS-LQO)",
        "PESQ, in CSIG, CBAK and COVL too, is P.862 without Corrigendum 2 (package pesq).",
    ):
        assert line in text


def test_a_dirty_tree_and_failures_are_named(expdir: Path) -> None:
    path = expdir / "tera_none/run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "dirty": True}))
    path = expdir / "tera_none/scores_test/summary.json"
    failures = [{"utt_id": "test_03", "reason": "silent"}]
    path.write_text(json.dumps({**json.loads(path.read_text()), "failures": failures}))
    found = dict(details(read_experiments(expdir)[1]))
    assert found["commit"] == "0123abc (dirty: the tree had changes)"
    assert "1 without a full score (test_03)" in found["scored on test"]


def test_every_field_is_optional_and_text_has_every_test_set(expdir: Path) -> None:
    (expdir / "tera_none/run.json").write_text("{}")
    shutil.copytree(expdir / "noisy/scores_test", expdir / "noisy/scores_other")
    experiments = read_experiments(expdir)
    assert results_table(experiments, "test")[2][:5] == ["tera_none", "", "", "", ""]
    assert "### tera_none" in results_markdown(experiments)
    text = results_text(experiments)
    assert text.startswith("other\nmodel") and "\n\ntest\nmodel" in text
