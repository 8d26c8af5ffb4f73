from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from featnorm_se.bin import run
from featnorm_se.bin.score import get_parser, main


@pytest.fixture
def pairs(tmp_path: Path) -> tuple[Path, Path]:
    rng = np.random.default_rng(0)
    for name in ("ref", "inf"):
        (tmp_path / name).mkdir()
    for i in range(2):
        clean = rng.uniform(-0.3, 0.3, 16000)
        soundfile.write(tmp_path / f"ref/u{i}.wav", clean, 16000)
        soundfile.write(tmp_path / f"inf/u{i}.wav", clean + rng.normal(0, 0.03, 16000), 16000)
    return tmp_path / "ref", tmp_path / "inf"


def arguments(pairs: tuple[Path, Path], out: Path, *more: str) -> list[str]:
    ref, inf = map(str, pairs)
    head = ["--ref", ref, "--inf", inf, "--output", str(out), "--nj", "1"]
    return [*head, "--metrics", "SI_SDR", "SSNR", *more]


def test_it_scores_and_prints(
    pairs: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(main, arguments(pairs, tmp_path / "out")) == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[1].split()[:2] == ["SI_SDR", "dB"]
    assert (tmp_path / "out/scores.csv").is_file() and (tmp_path / "out/summary.json").is_file()


def test_failures_set_the_status_unless_allowed(
    pairs: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (pairs[1] / "u0.wav").unlink()
    out = tmp_path / "out"
    assert run(main, arguments(pairs, out)) == 1
    told = capsys.readouterr()
    assert "not scored: u0: no file to score" in told.out
    assert told.err.splitlines()[-1].startswith("featnorm_se: error: 1 of 2 utterances")
    assert (out / "scores.csv").is_file()
    assert run(main, arguments(pairs, out, "--allow_failures", "1")) == 0


def test_bad_input_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["--ref", str(tmp_path / "gone"), "--inf", str(tmp_path), "--output", str(tmp_path)]
    assert run(main, argv) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "no such folder" in error


def test_help_has_the_defaults() -> None:
    text = get_parser().format_help()
    assert "--allow_failures" in text and "(default: 0)" in text and "PESQ_WB" in text
