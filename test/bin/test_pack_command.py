"""The command ``featnorm-se pack``."""

from __future__ import annotations

import runpy
from pathlib import Path

from featnorm_se.bin.main import main

TINY = runpy.run_path(str(Path(__file__).parents[1] / "enhancement" / "conftest.py"))


def test_it_packs_and_lists(tmp_path, capsys):
    folder = TINY["save_tiny"](tmp_path / "exp")
    assert main(["pack", str(folder), str(tmp_path / "m.zip")]) == 0
    printed = capsys.readouterr().out
    assert "model.safetensors" in printed and "README.md" in printed
    assert "statistics' file was not found" in printed
    assert (tmp_path / "m.zip").is_file()


def test_bad_input_is_one_line(tmp_path, capsys):
    assert main(["pack", str(tmp_path), str(tmp_path / "m.zip")]) == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "holds no config.yaml" in told
    assert not (tmp_path / "m.zip").exists()
