from __future__ import annotations

from pathlib import Path

import pytest

from featnorm_se.bin import run
from featnorm_se.bin.compare import main


def test_it_prints_and_draws_and_refuses_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, gain in (("a", 0.0), ("b", 0.25)):
        folder = tmp_path / name / "scores_test"
        folder.mkdir(parents=True)
        rows = "".join(f"u{i},{1 + 0.1 * i + gain},\n" for i in range(6))
        (folder / "scores.csv").write_text(f"utt_id,PESQ_WB,reason\n{rows}")
    picture = tmp_path / "out/compare.png"
    command = [str(tmp_path / "a"), str(tmp_path / "b"), "--output", str(picture)]
    assert run(main, command) == 0
    line = capsys.readouterr().out.splitlines()[1]
    assert line.split() == ["b", "less", "a", "6", "+0.250", "0.250", "..", "0.250", "6", "0", "0"]
    assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert run(main, [*command[:2]]) == 0  # in the folder of what is judged, not where one stands
    assert (tmp_path / "b/compare.png").stat().st_size > 1000
    capsys.readouterr()
    assert run(main, [*command, "--metric", "STOI"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "STOI" in error
