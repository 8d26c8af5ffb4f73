from __future__ import annotations

from pathlib import Path

import pytest

from featnorm_se.bin import run
from featnorm_se.bin.compare import main


@pytest.fixture
def experiments(tmp_path: Path) -> tuple[str, str]:
    for name, gain in (("a", 0.0), ("b", 0.25)):
        folder = tmp_path / name / "scores_test"
        folder.mkdir(parents=True)
        rows = "".join(f"u{i},{1 + 0.1 * i + gain},\n" for i in range(6))
        (folder / "scores.csv").write_text(f"utt_id,PESQ_WB,reason\n{rows}")
    return str(tmp_path / "a"), str(tmp_path / "b")


def test_it_prints_and_draws(
    experiments: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "out/compare.png"
    assert run(main, [*experiments, "--output", str(picture)]) == 0
    line = capsys.readouterr().out.splitlines()[1]
    assert line.split() == ["b", "less", "a", "6", "+0.250", "0.250", "..", "0.250", "6", "0", "0"]
    assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_bad_input_is_one_line(
    experiments: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(main, [*experiments, "--metric", "STOI"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "STOI" in error
