"""The pages: links lead somewhere, commands have the options shown; the notebook runs."""

import contextlib
import io
import json
import os
import re
import shlex
import subprocess
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from forked import fork

from featnorm_se.bin.main import COMMANDS

ROOT = Path(__file__).parents[1]
PAGES = [
    *(ROOT.glob("*.md")),
    *(ROOT.glob("doc/*.md")),
    *(ROOT.glob("egs/*/*/README.md")),
    *(ROOT.glob("egs/*/*/conf/tables/README.md")),
]
SCRIPTS = {
    "run.sh": ("egs/TEMPLATE/enh1/featnorm.sh", "egs/mini/ssl1/run.sh"),
    "tables.sh": ("egs/TEMPLATE/enh1/tables.sh",),
    "grid.sh": ("egs/mini/enh1/grid.sh",),
}


def anchors(page: Path) -> set[str]:
    """Return what a page's headings are called in links, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        there = (page.parent / name).resolve() if name else page
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), target


def known_options(words: list[str]) -> tuple[set[str], list[str]] | None:
    """Return a command's options and the words it is given; ``None``: it is not ours."""
    script = SCRIPTS.get(Path(words[0]).name)
    if script:
        texts = [(ROOT / name).read_text() for name in script]
        found = {name for text in texts for name in re.findall(r"^(\w+)=.* # ", text, re.MULTILINE)}
        return {f"--{name}" for name in found} | {"--help", "--"}, words[1:]
    if words[:2] == ["python", "-m"] and words[2].startswith("featnorm_se.bin."):
        module, arguments = words[2], words[3:]
    elif words[0] == "featnorm-se" and words[1:] and words[1] in COMMANDS:
        module, arguments = f"featnorm_se.bin.{COMMANDS[words[1]][0]}", words[2:]
    else:
        return None
    if module.endswith(".espnet"):  # the rest is ESPnet's
        return None
    parser = import_module(module).get_parser()
    return set(parser._option_string_actions), arguments


@pytest.mark.parametrize("place", [ROOT, ROOT / "egs/mini/enh1", ROOT / "egs/mini"])
def test_help_of_a_script_is_whole_from_any_folder(place):
    for script in (ROOT / "egs/mini").glob("*/*.sh"):
        if script.name in ("run.sh", "tables.sh", "grid.sh"):
            command = [f"./{os.path.relpath(script, place)}", "--help"]
            done = subprocess.run(command, cwd=place, capture_output=True, text=True)
            assert "--python " in done.stdout and not done.stderr, (script, done.stderr)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_have_the_options_that_they_are_shown_with(page):
    if page.name == "CHANGELOG.md":  # tells of options that are gone
        return
    text = page.read_text().replace("\\\n", " ")
    lines = re.findall(r"^ {4}(.*)$", text, re.MULTILINE) + re.findall(r"`([^`\n]+)`", text)
    for line in lines:
        for command in re.split(r"&&|\||;", line.partition(" #")[0]):
            try:
                words = shlex.split(command)
            except ValueError:  # half of a quotation
                continue
            words = [word for word in words if not re.match(r"\w+=", word)]
            # What stands behind -- is of run.sh.
            words = words[: words.index("--")] if "--" in words else words
            known = known_options(words) if words else None
            if known:
                options = {word for word in known[1] if re.match(r"--?[a-z]", word)}
                assert options <= known[0], f"{command}: {options - known[0]}"


# ---- doc/tour.ipynb

NOTEBOOK = Path(__file__).parents[1] / "doc" / "tour.ipynb"


def outputs(cells) -> list:
    return [output for cell in cells for output in cell.get("outputs", [])]


def printed(cells) -> str:
    return "".join("".join(output.get("text", "")) for output in outputs(cells))


def run_cells(cells: list[dict[str, Any]]) -> None:
    """Run cells of code where the notebook lies; look at what they print and draw."""
    from IPython.core.interactiveshell import InteractiveShell
    from matplotlib import pyplot

    os.chdir(NOTEBOOK.parent)
    shell, said = InteractiveShell.instance(), io.StringIO()
    with contextlib.redirect_stdout(said):
        for cell in cells:
            # The same commands, on less.
            source = "".join(cell["source"]).replace(
                "num_iters_per_epoch=16", "num_iters_per_epoch=2"
            )
            shell.run_cell(source.replace("--train_utts 16", "--train_utts 4")).raise_error()
    assert "the same to the bit: True" in said.getvalue()
    assert len(pyplot.get_fignums()) == 2


@pytest.mark.slow
def test_the_tour_runs(monkeypatch):
    pytest.importorskip("IPython")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    pictures = sum("image/png" in output.get("data", {}) for output in outputs(cells))
    process = fork(run_cells, [cell for cell in cells if cell["cell_type"] == "code"])
    process.join(300)
    assert process.exitcode == 0 and pictures == 2


def test_it_is_small_whole_and_names_no_machine():
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert len(text) < 500_000
    cells = json.loads(text)["cells"]
    assert all(cell["execution_count"] for cell in cells if cell["cell_type"] == "code")
    assert "the same to the bit: True" in printed(cells)
    assert not re.search(r"/(home|root|tmp|work|usr)/", printed(cells))
    assert not [o for o in outputs(cells) if o.get("name") == "stderr"]
