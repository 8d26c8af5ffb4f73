"""The page: what is on it, and that a real browser takes it without complaint."""

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from made_experiments import add_audio, make_experiments

from featnorm_se.metrics.summary import format_summary, summarize
from featnorm_se.metrics.worker import Row
from featnorm_se.report import plots
from featnorm_se.report.examples import choose
from featnorm_se.report.experiments import read_experiments
from featnorm_se.report.page import build_page
from featnorm_se.report.paired import compare, comparison_table


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of experiments with audio and logs."""
    root = tmp_path_factory.mktemp("page")
    add_audio(make_experiments(root / "exp"), root / "data")
    return build_page(read_experiments(root / "exp"), str(root / "data"), "Results of mini")


def test_it_is_whole_and_self_contained(text: str) -> None:
    ids = re.findall(r'<[^>]*\sid="([^"]*)"', text)
    assert ids and len(ids) == len(set(ids))
    for target in re.findall(r'\s(?:xlink:)?(?:href|src)="([^"]*)"', text):
        assert target.startswith("data:") or target.removeprefix("#") in ids, target[:80]
    assert not re.search(r"(?:src|href|url\()=?[\"']?https?:", text)
    assert text.count("<audio") == 3 * 4
    assert "<script" not in text
    assert re.findall(r"<h2[^>]*>([^<]*)</h2>", text) == [
        "test: results",
        "test: listen",
        "test: scores by SNR",
        "test: paired differences",
        "test: score distributions",
        "Training curves",
        "What the rows stand on",
    ]
    assert "tera utterance less tera none" in text
    assert len(re.findall(r"<h3>(?:Best|Median|Worst) change: test_", text)) == 3
    assert all("aria-label=" in tag for tag in re.findall(r"<(?:audio|svg)[^>]*>", text))
    assert "prefers-color-scheme: dark" in text


def test_names_are_escaped_and_what_is_missing_is_left_out(expdir: Path, tmp_path: Path) -> None:
    path = expdir / "tera_none/run.json"
    record = {**json.loads(path.read_text()), "upstream": "<b>&", "command": "<script>x</script>"}
    path.write_text(json.dumps(record))
    (expdir / "tera_none/scores_test/scores.csv").unlink()
    summary = expdir / "noisy/scores_test/summary.json"
    record = json.loads(summary.read_text())
    del record["conditions"]
    summary.write_text(json.dumps(record))
    text = build_page(read_experiments(expdir), str(tmp_path / "no data"), "<i>T</i>")
    assert "<script>" not in text and "<b>" not in text and "<i>" not in text
    assert "&lt;script&gt;" in text
    assert "<audio" not in text and "Training curves" not in text
    assert "test: paired differences" in text


def test_best_median_worst() -> None:
    noisy = {f"u{i}": {"PESQ_WB": 1.0} for i in range(5)}
    judged = {f"u{i}": {"PESQ_WB": 1.0 + 0.1 * i} for i in range(5)}
    found = choose(noisy, judged, "PESQ_WB")
    assert [(which, name) for which, name, _ in found] == [
        ("best change", "u4"),
        ("median change", "u2"),
        ("worst change", "u0"),
    ]
    assert found[0][2] == pytest.approx(0.4)
    assert [n for _, n, _ in choose({"a": {"STOI": 1}}, {"a": {"STOI": 2}}, "STOI")] == ["a"]


# ---- plots


def texts(svg: str) -> list[str]:
    ElementTree.fromstring(svg)
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("count", range(1, 8))
def test_an_interval_over_utterances_needs_three(count: int) -> None:
    """Of two, Student's leaves the metric's scale, and the bootstrap's is too close."""
    rows = [Row(str(i), {"PESQ_WB": 1.2 + 0.4 * i}) for i in range(count)]
    summary = summarize(rows, ["PESQ_WB"])
    tables = ({row.utt_id: {"PESQ_WB": gain * i} for i, row in enumerate(rows)} for gain in (0, 1))
    found = {"x": compare(*tables, "PESQ_WB")}
    told = [*format_summary(summary).splitlines()[1:], *comparison_table(found, "PESQ_WB")[1]]
    assert sum("too few utterances" in text for text in told) == 2 * (count < 3)
    assert sum(" .. " in text for text in told) == 2 * (count > 2)
    assert (summary["metrics"]["PESQ_WB"]["ci95"] is None) == (count < 3)
    bars = re.findall('<path d="M[^>]*stroke-width: 4', plots.differences(found, "PESQ_WB", "T"))
    assert len(bars) == (count > 2)


def test_a_spectrogram_of_a_tone_is_where_and_as_loud_as_it_should_be() -> None:
    tone = np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000).astype(np.float32)
    magnitudes = plots.magnitudes(tone, 16000)
    assert magnitudes.shape == ((16000 - 512) // 128 + 1, 257)
    assert (magnitudes.argmax(axis=1) == 32).all()
    svg = plots.spectrogram(tone, 16000, float(magnitudes.max()), "Tone")
    assert {"time (s)", "frequency (kHz)", "level (dB)"} <= set(texts(svg))
    assert plots.magnitudes(tone[:10], 16000).shape == (1, 257)
