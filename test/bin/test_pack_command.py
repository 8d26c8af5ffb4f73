"""The command ``featnorm-se pack``."""

from __future__ import annotations

import zipfile

from tiny_models import save_tiny

from featnorm_se.bin.main import main


def test_notes_and_licence_go_into_the_card(tmp_path, capsys):
    folder, notes = save_tiny(tmp_path / "exp"), tmp_path / "notes.md"
    notes.write_text("## How it was made\n\n    ./run.sh --stage 3\n", encoding="utf-8")
    output = tmp_path / "m.zip"
    options = ["--half", "--notes", str(notes), "--licence", "cc-by-sa-4.0"]
    assert main(["pack", str(folder), str(output), *options]) == 0
    printed = capsys.readouterr().out
    assert "model.safetensors" in printed and "statistics' file was not found" in printed
    with zipfile.ZipFile(output) as archive:
        card = archive.read("README.md").decode()
    assert "\nlicense: cc-by-sa-4.0\n" in card.split("---")[1]
    assert "\n## How it was made\n\n    ./run.sh --stage 3\n\n## Scores" in card
    assert "- these weights: cc-by-sa-4.0" in card and "rounded to float16" in card
    (tmp_path / "empty").mkdir()
    for odd in (
        [str(folder), "--licence", "mine: all"],
        [str(folder), "--notes", str(tmp_path / "gone.md")],
        [str(tmp_path / "empty")],
    ):
        assert main(["pack", odd[0], str(tmp_path / "n.zip"), *odd[1:]]) == 1
        assert capsys.readouterr().err.count("\n") == 1
        assert not (tmp_path / "n.zip").exists()
