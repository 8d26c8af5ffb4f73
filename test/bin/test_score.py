from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from featnorm_se.bin import run
from featnorm_se.bin.score import main


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


def test_it_scores_and_prints_and_failures_set_the_status(
    pairs: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run(main, arguments(pairs, out)) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:2] == ["SI_SDR", "dB"]
    assert (out / "summary.json").is_file()
    (pairs[1] / "u0.wav").unlink()
    assert run(main, arguments(pairs, out)) == 1
    printed = capsys.readouterr()
    assert "not scored: u0: no file to score" in printed.out
    assert printed.err.splitlines()[-1].startswith("featnorm_se: error: 1 of 2 utterances")
    assert (out / "scores.csv").is_file()
    assert run(main, arguments(pairs, out, "--allow_failures", "1")) == 0
