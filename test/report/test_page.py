"""The page: what is on it, and that a real browser takes it without complaint."""

import base64
import html
import io
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from made_experiments import add_audio, make_experiments, update

from featnorm_se.metrics.summary import format_summary, summarize
from featnorm_se.metrics.worker import Row
from featnorm_se.report import plots
from featnorm_se.report.examples import choose, data_uri
from featnorm_se.report.experiments import read_experiments
from featnorm_se.report.page import TestSet, build_page
from featnorm_se.report.paired import compare, comparison_table

NAMES = (os.environ.get("CHROMIUM", ""), "chromium", "chromium-browser")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)

# Added to a copy of the page: it asks the browser what became of everything, once all is loaded.
PROBE = """
<script>
const faults = [];
addEventListener("error", (event) => faults.push(String(event.message || event.type)), true);
const players = [...document.querySelectorAll("audio")];
Promise.all(players.map((player) => new Promise((done) => {
  if (player.readyState > 0) { done(); return; }
  player.addEventListener("loadedmetadata", done);
  player.addEventListener("error", () => { faults.push("audio"); done(); });
  player.load();
}))).then(() => {
  const state = {
    faults,
    durations: players.map((player) => player.duration),
    overflow: document.documentElement.scrollWidth - innerWidth,
  };
  document.title = "PROBE" + JSON.stringify(state);
});
</script>
"""


def show_in_a_browser(text: str, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text(text.replace("</body>", PROBE + "</body>"))
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--window-size=500,800"]
    options += [f"--user-data-dir={tmp_path / 'profile'}", "--timeout=8000", "--dump-dom"]
    done = subprocess.run(
        [str(CHROMIUM), *options, (tmp_path / "index.html").as_uri()],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    found = re.search(r"<title>PROBE(.*?)</title>", done.stdout)
    assert found, done.stderr[-2000:]
    state = json.loads(html.unescape(found[1]))
    assert state["faults"] == []
    assert len(state["durations"]) == 12 and all(0.4 < d < 1.2 for d in state["durations"])
    assert state["overflow"] <= 0
    assert "CONSOLE" not in done.stderr


def test_it_is_whole_and_self_contained_and_a_browser_takes_it(tmp_path: Path) -> None:
    """Of experiments with audio and logs."""
    add_audio(make_experiments(tmp_path / "exp"), tmp_path / "data")
    text = build_page(read_experiments(tmp_path / "exp"), str(tmp_path / "data"), "Results of mini")
    ids = re.findall(r'<[^>]*\sid="([^"]*)"', text)
    assert ids and len(ids) == len(set(ids))
    for target in re.findall(r'\s(?:xlink:)?(?:href|src)="([^"]*)"', text):
        assert target.startswith("data:") or target.removeprefix("#") in ids, target[:80]
    assert not re.search(r"(?:src|href|url\()=?[\"']?https?:", text)
    assert text.count("<audio") == 3 * 4
    assert "<script" not in text
    for part in ("listen", "scores by SNR", "paired differences", "score distributions"):
        assert f"test: {part}</h2>" in text
    assert "tera utterance less tera none" in text
    assert len(re.findall(r"<h3>(?:Best|Median|Worst) change: test_", text)) == 3
    assert all("aria-label=" in tag for tag in re.findall(r"<(?:audio|svg)[^>]*>", text))
    assert "prefers-color-scheme: dark" in text
    if CHROMIUM is None:
        pytest.skip("its last part needs chromium")
    show_in_a_browser(text, tmp_path)


def test_names_are_escaped_and_what_is_missing_is_left_out(expdir: Path, tmp_path: Path) -> None:
    update(expdir / "tera_none/run.json", upstream="<b>&", command="<script>x</script>")
    shutil.rmtree(expdir / "tera_none/scores_test")
    summary = expdir / "noisy/scores_test/summary.json"
    record = json.loads(summary.read_text())
    del record["conditions"]
    summary.write_text(json.dumps(record))
    summary = expdir / "tera_utterance/scores_test/summary.json"
    summary.write_text(summary.read_text().replace('"17.5":', '"inf":'))  # has no place on an axis
    text = build_page(read_experiments(expdir), str(tmp_path / "no data"), "<i>T</i>")
    assert "<script>" not in text and "<b>" not in text and "<i>" not in text
    assert "&lt;script&gt;" in text
    assert "<audio" not in text and "Training curves" not in text
    assert "test: paired differences" in text
    assert list(TestSet("test", read_experiments(expdir)).by_snr("STOI").values()) == [
        pytest.approx(dict.fromkeys((2.5, 7.5, 12.5), 0.8225))
    ]


def test_a_model_is_compared_with_the_row_trained_as_it_was(expdir: Path) -> None:
    folder = expdir / "tera_none"
    shutil.copytree(folder, expdir / "tera_none_frozen")
    for name, freeze in (("tera_none_frozen", "all"), ("tera_none", ""), ("tera_utterance", "")):
        config = {"separator_conf": {"freeze": freeze, "norm": name.split("_")[1]}}
        update(expdir / name / "run.json", config=config)

    def compared() -> list[str]:
        found = TestSet("test", read_experiments(expdir)).differences("STOI")
        return [label for label in found if label.startswith(("tera_u", "tera u"))]

    both = ["tera_utterance\n less noisy", "tera_utterance\n less tera_none"]
    assert compared() == both
    update(folder / "run.json", max_epoch=1)
    assert compared() == both[:1]
    shutil.rmtree(folder)
    assert compared() == ["tera utterance\n less noisy"]


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


def test_audio_survives_its_encoding() -> None:
    tone = (0.5 * np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)).astype(np.float32)
    head, content = data_uri(tone, 16000).split(",")
    assert head == "data:audio/flac;base64"
    decoded, rate = soundfile.read(io.BytesIO(base64.b64decode(content)))
    assert rate == 16000
    np.testing.assert_allclose(decoded, tone, atol=1e-4)


# ---- plots


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
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
    assert {"time (s)", "frequency (kHz)", "level (dB)"} <= set(texts)
    assert plots.magnitudes(tone[:10], 16000).shape == (1, 257)
