"""What the house rules promise: rooms, light imports, documented names."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from featnorm_se.bin import main

ROOT = Path(__file__).parents[1] / "featnorm_se"
MODULES = {path: path.read_text(encoding="utf-8") for path in sorted(ROOT.rglob("*.py"))}
TREES = {path: ast.parse(text) for path, text in MODULES.items()}
COMMANDS = sorted(path.stem for path in (ROOT / "bin").glob("[!_]*.py"))

# A room imports from rooms of a lower number only, and from itself.
FLOORS = (
    ("errors", "config", "progress", "files", "names", "fetch"),
    *(("data",), ("statistics",), ("normalization", "upstream"), ("collection", "model")),
    *(("training", "inference"), ("metrics",), ("report",), ("bin",)),
)
ROOMS = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


def imports(path: Path) -> set[str]:
    """Return the rooms that a module imports from, wherever in it."""
    found = set()
    for node in ast.walk(TREES[path]):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "featnorm_se" and len(parts) > 1:
                found.add(parts[1])
    return found


def test_a_lower_room_never_imports_an_upper_one():
    wrong = []
    for path in MODULES:
        own = path.relative_to(ROOT).parts[0].removesuffix(".py")
        if own == "__init__":
            continue
        wrong += [f"{path}: {own} imports {r}" for r in imports(path) if ROOMS[r] > ROOMS[own]]
    assert wrong == []


def test_no_modules_import_each_other_in_a_circle():
    """Not within functions either; what only type checkers read does not count."""
    inside = {path: path.relative_to(ROOT.parent).with_suffix("") for path in MODULES}
    names = {path: ".".join(short.parts) for path, short in inside.items()}
    graph: dict[str, set[str]] = {name: set() for name in names.values()}
    for path, tree in TREES.items():
        choices = [node for node in ast.walk(tree) if isinstance(node, ast.If)]
        hints = [node for node in choices if "TYPE_CHECK" in ast.dump(node.test)]
        unread = {id(node) for hint in hints for node in ast.walk(hint)}
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module and id(node) not in unread:
                found = [f"{node.module}.{alias.name}" for alias in node.names] + [node.module]
                graph[names[path]] |= {one for one in found if one in graph and one != names[path]}
    TopologicalSorter(graph).prepare()  # raises an error that names the circle


def documented(node: ast.AST, name: str) -> list[str]:
    """Return the public names below a node that lack a docstring."""
    missing = []
    inherited = {"forward", "extra_repr", "add_task_arguments", "get_parser"}
    inherited |= {"train", "redirect_request"}
    for child in ast.iter_child_nodes(node):
        kinds = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        if not isinstance(child, kinds) or child.name.startswith("_"):
            continue
        if not ast.get_docstring(child) and child.name not in inherited:
            missing.append(f"{name}.{child.name}")
        if isinstance(child, ast.ClassDef):
            missing += documented(child, f"{name}.{child.name}")
    return missing


def test_every_public_name_has_a_docstring_and_every_function_types():
    missing = []
    for path, tree in TREES.items():
        name = str(path.relative_to(ROOT.parent))
        missing += [] if ast.get_docstring(tree) else [name]
        missing += documented(tree, name)
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                untyped = [
                    argument.arg
                    for argument in [*node.args.args, *node.args.kwonlyargs]
                    if argument.annotation is None and argument.arg not in ("self", "cls")
                ]
                if untyped or node.returns is None:
                    missing.append(f"{name}:{node.lineno} {node.name}: {untyped or 'result'}")
    assert missing == []


def test_modules_functions_and_the_house_stay_small_enough_to_be_known():
    long = []
    for path, text in MODULES.items():
        if text.count("\n") > 300:
            long.append(f"{path}: {text.count(chr(10))} lines")
        for node in ast.walk(TREES[path]):
            if isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno > 60:
                long.append(f"{path}:{node.lineno} {node.name}")
    assert long == []
    assert sum(text.count("\n") for text in MODULES.values()) <= 12_000
    assert len(MODULES) <= 95


HEAVY = ("torch", "espnet2", "s3prl", "scipy", "soundfile", "matplotlib", "torchaudio")
TELL_HEAVY = f"""
import contextlib, io, sys
from importlib import import_module
def tell(name):
    print(name, *(heavy for heavy in {HEAVY} if heavy in sys.modules))
import_module("featnorm_se")
tell("featnorm_se")
for name in {COMMANDS}:
    module = import_module("featnorm_se.bin." + name)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        module.main(["--help"])
    tell(name)
"""


def test_neither_the_package_nor_a_help_loads_anything_heavy():
    done = subprocess.run([sys.executable, "-c", TELL_HEAVY], capture_output=True, text=True)
    assert done.stdout.splitlines() == ["featnorm_se", *COMMANDS], done.stderr


def test_every_word_of_the_console_command_is_a_module():
    assert {module for module, _ in main.COMMANDS.values()} < set(COMMANDS)


def test_public_names_are_there():
    import featnorm_se

    for name in featnorm_se.__all__:
        assert getattr(featnorm_se, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = featnorm_se.Nothing


def test_what_recipes_share_is_linked_and_not_copied():
    egs = ROOT.parent / "egs"
    shared = [path.name for path in (egs / "TEMPLATE" / "enh1").glob("*.sh")]
    copies = [path for name in shared for path in egs.glob(f"*/*/{name}") if not path.is_symlink()]
    assert {path.parent for path in copies} == {egs / "TEMPLATE" / "enh1"}
    assert (egs / "mini" / "ssl1" / "local" / "sources.py").is_symlink()
