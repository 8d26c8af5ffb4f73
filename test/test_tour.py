"""The notebook doc/tour.ipynb runs from top to bottom, and is committed with what it shows."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[1] / "doc" / "tour.ipynb"


def outputs(cells) -> list:
    return [output for cell in cells for output in cell.get("outputs", [])]


def printed(cells) -> str:
    return "".join("".join(output.get("text", "")) for output in outputs(cells))


def pictures(cells) -> int:
    return sum("image/png" in output.get("data", {}) for output in outputs(cells))


@pytest.mark.slow
def test_the_tour_runs(monkeypatch):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    notebook = nbformat.read(NOTEBOOK, 4)
    committed = pictures(notebook.cells)
    place = {"metadata": {"path": str(NOTEBOOK.parent)}}
    nbclient.NotebookClient(notebook, timeout=300, resources=place).execute()
    assert not [output for output in outputs(notebook.cells) if output["output_type"] == "error"]
    assert "the same to the bit: True" in printed(notebook.cells)
    assert pictures(notebook.cells) == committed == 2


def test_it_is_small_whole_and_names_no_machine():
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert len(text) < 500_000
    cells = json.loads(text)["cells"]
    assert all(cell["execution_count"] for cell in cells if cell["cell_type"] == "code")
    assert "the same to the bit: True" in printed(cells)
    assert not re.search(r"/(home|root|tmp|work|usr)/", printed(cells))
    assert not [o for o in outputs(cells) if o.get("name") == "stderr"]


def test_badges_and_the_first_cell_name_one_repository():
    text = NOTEBOOK.read_text(encoding="utf-8") + (NOTEBOOK.parents[1] / "README.md").read_text()
    assert len(re.findall(r"colab[.]research[.]google[.]com/github/", text)) == 2
    named = re.findall(r"(?:github[.]com|google[.]com/github)/([\w.-]+/featnorm_se)", text)
    assert len(named) == 3 and len(set(named)) == 1
