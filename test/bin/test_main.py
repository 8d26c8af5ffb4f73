"""The console command; what compare and score print, and their statuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from featnorm_se import __version__
from featnorm_se.bin import compare, run, score
from featnorm_se.bin.main import COMMANDS, main


def test_help_names_every_command_and_there_is_a_version(capsys):
    assert main(["--help"]) == 0
    printed = capsys.readouterr().out
    assert all(f"  {word} " in printed for word in COMMANDS)
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"featnorm_se {__version__}\n"


# ---- compare


def test_it_prints_and_refuses_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, gain in (("a", 0.0), ("b", 0.25)):
        folder = tmp_path / name / "scores_test"
        folder.mkdir(parents=True)
        rows = "".join(f"u{i},{1 + 0.1 * i + gain},\n" for i in range(6))
        (folder / "scores.csv").write_text(f"utt_id,PESQ_WB,reason\n{rows}")
    command = [str(tmp_path / "a"), str(tmp_path / "b")]
    assert run(compare.main, command) == 0
    told, _, line = capsys.readouterr().out.splitlines()[:3]
    assert told == "differences in PESQ_WB (MOS-LQO)"
    assert line.split() == ["b", "less", "a", "6", "+0.250", "0.250", "..", "0.250", "6", "0", "0"]
    assert run(compare.main, [*command, "--metric", "STOI"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "STOI" in error


# ---- score


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
    assert run(score.main, arguments(pairs, out)) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:2] == ["SI_SDR", "dB"]
    assert (out / "summary.json").is_file()
    (pairs[1] / "u0.wav").unlink()
    assert run(score.main, arguments(pairs, out)) == 1
    printed = capsys.readouterr()
    assert "not scored: u0: no file to score" in printed.out
    assert printed.err.splitlines()[-1].startswith("featnorm_se: error: 1 of 2 utterances")
    assert (out / "scores.csv").is_file()
    assert run(score.main, arguments(pairs, out, "--allow_failures", "1")) == 0
