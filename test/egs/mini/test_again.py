"""Rows run again: inside or outside of where the first runs let them be expected."""

from pathlib import Path

import again
import pytest
from made_scores import write_scores
from study.again import run_again, to_markdown
from study.results import pack, unpack

from featnorm_se.bin import run
from featnorm_se.metrics.worker import Row

RECIPE = Path(__file__).parents[3] / "egs" / "mini" / "enh1"


def runs(folder: Path, row: str, gains: list[float]) -> None:
    for seed, gain in enumerate(gains):
        write_scores(folder / f"{row}_seed{seed}", [Row("u", {"PESQ_WB": 1.9 + gain})])


def test_one_run_falls_inside_and_one_outside(tmp_path: Path) -> None:
    runs(tmp_path / "first", "a", [0.10, 0.12, 0.14])
    runs(tmp_path / "first", "alone", [0.1])  # one seed lets nothing be expected
    runs(tmp_path / "first", "b", [0.3, 0.31])
    for row, gains in (("a", [0.11, 0.4]), ("alone", [0.1]), ("c", [0.2])):
        runs(tmp_path / "other", row, gains)
    (told,) = run_again(tmp_path / "first", tmp_path / "other", ["PESQ_WB"])
    assert (told.row, told.seeds, len(told.means), told.inside) == ("a", 3, 2, 1)
    # Student's t of two degrees of freedom, 4.303, times 0.02 sqrt(1 + 1/3).
    low, high = told.expected
    assert (high - low) / 2 == pytest.approx(4.3027 * 0.02 * (4 / 3) ** 0.5, rel=1e-3)
    assert (high + low) / 2 == pytest.approx(told.first.mean)
    assert "Inside: 1 of 2;" in to_markdown([told])


def test_the_committed_runs_of_another_machine_fall_where_they_should(tmp_path, capsys) -> None:
    unpack(RECIPE / "results", tmp_path)
    words = ["--expdir", str(tmp_path / "h100"), "--against", str(tmp_path / "grid")]
    assert run(again.main, words) == 0
    assert "Inside: 57 of 60" in capsys.readouterr().out


def test_what_is_unpacked_packs_to_the_same_bytes(tmp_path: Path) -> None:
    folders = unpack(RECIPE / "results", tmp_path / "exp", ["xeon"])
    assert len(folders) == 3
    kept = folders[0] / "scores_test" / "summary.json"
    kept.write_text("{}")  # what is there, perhaps a run of the user's own, is left as it is
    assert unpack(RECIPE / "results", tmp_path / "exp", ["xeon"]) == []
    assert kept.read_text() == "{}"
    unpack(RECIPE / "results", tmp_path / "again", ["xeon"])
    assert pack(tmp_path / "again", ["xeon"], tmp_path / "packed") == 3
    unpack(tmp_path / "packed", tmp_path / "third")
    files = [path for path in (tmp_path / "again").rglob("*") if path.is_file()]
    assert len(files) == 9
    for path in files:
        twin = tmp_path / "third" / path.relative_to(tmp_path / "again")
        assert twin.read_bytes() == path.read_bytes()
