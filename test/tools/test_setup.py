"""The set-up: its pins, its scripts, and what it says when something is missing. No network."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / "tools"


def run(*command: str | Path, cwd: Path = ROOT, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command and return what it printed, stdout and stderr together."""
    return subprocess.run(
        [str(c) for c in command],
        cwd=cwd,
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def check(*parts: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run check_install.py on some parts, with a folder of fakes before the real packages."""
    env = {"PYTHONPATH": str(path)} if path else {}
    return run(sys.executable, TOOLS / "check_install.py", *parts, **env)


def copy_tools(target: Path) -> Path:
    """Copy the parts of the set-up that git has to ``target/tools``."""
    tools = target / "tools"
    tools.mkdir()
    for name in ("Makefile", "requirements.txt"):
        shutil.copy2(TOOLS / name, tools)
    shutil.copytree(TOOLS / "installers", tools / "installers")
    (target / "setup.py").touch()
    return tools


def requirement_lines() -> list[str]:
    text = (TOOLS / "requirements.txt").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


# ---- the pinned list


def test_every_requirement_is_an_exact_pin() -> None:
    bad = [r for r in requirement_lines() if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][\w.]*", r)]
    assert not bad


def test_no_requirement_is_listed_twice() -> None:
    names = [re.sub(r"[-_.]+", "-", line.split("==")[0]).lower() for line in requirement_lines()]
    assert len(names) > 80
    assert sorted(names) == sorted(set(names))


# ---- the Makefile: stamps


def fake_environment(folder: Path) -> Path:
    """A python whose prefix is ``folder``: make asks it for nothing else."""
    python = folder / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/sh\necho {folder}\n", encoding="utf-8")
    python.chmod(0o755)
    return python


def test_fresh_make_runs_all_steps_in_order_and_a_second_none(tmp_path: Path) -> None:
    tools = copy_tools(tmp_path)
    python = fake_environment(tmp_path / "env")
    log = tmp_path / "log"
    for step in (tools / "installers").glob("*.sh"):
        step.write_text(
            f'#!/bin/bash\necho "{step.stem} ${{STEP:-}}" >>"{log}"\n'
            '[[ -z ${STAMP:-} ]] || { mkdir -p "$(dirname "$STAMP")"; touch "$STAMP"; }\n',
            encoding="utf-8",
        )
    first = run("make", f"PYTHON={python}", cwd=tools)
    assert first.returncode == 0, first.stdout
    steps = [line for line in log.read_text(encoding="utf-8").splitlines() if "/9" in line]
    assert [line.split()[1] for line in steps] == [f"{n}/9" for n in range(1, 10)]
    log.write_text("", encoding="utf-8")
    second = run("make", f"PYTHON={python}", cwd=tools)
    assert second.returncode == 0
    assert "Set-up is complete" in second.stdout
    assert "/9" not in log.read_text(encoding="utf-8")


def test_a_cut_make_goes_on_where_it_was(tmp_path: Path) -> None:
    tools = copy_tools(tmp_path)
    python = fake_environment(tmp_path / "env")
    wanted = run("make", "-n", f"PYTHON={python}", cwd=tools).stdout
    stamps = re.findall(r'STAMP="([^"]+)"', wanted)
    assert len(stamps) == 9
    for stamp in stamps[:3]:
        Path(stamp).parent.mkdir(parents=True, exist_ok=True)
        Path(stamp).touch()
    rest = run("make", "-n", f"PYTHON={python}", cwd=tools).stdout
    assert re.findall(r"STEP=(\d)/9", rest) == list("456789")


# ---- what is refused, each in one line


def python_saying(folder: Path, body: str) -> Path:
    python = folder / "python3"
    python.write_text(f"#!/bin/bash\n{body}\n", encoding="utf-8")
    python.chmod(0o755)
    return python


def step(tools: Path, name: str, **env: str) -> subprocess.CompletedProcess[str]:
    stamp = tools / "a.done"
    done = run(tools / "installers" / name, STEP="1/9", STAMP=str(stamp), **env)
    assert stamp.exists() == (done.returncode == 0)
    return done


def test_old_python_is_refused(tmp_path: Path) -> None:
    tools = copy_tools(tmp_path)
    python = python_saying(tmp_path, "[[ $2 == *platform* ]] && echo 3.9.2; [[ $2 == *platform* ]]")
    done = step(tools, "make_environment.sh", OWN_ENV="1", BASE_PYTHON=str(python), PY="unused")
    assert done.returncode != 0
    assert "is Python 3.9.2: 3.11 or 3.12 is needed" in done.stdout


def test_python_without_venv_names_the_package(tmp_path: Path) -> None:
    tools = copy_tools(tmp_path)
    python = python_saying(tmp_path, "[[ $2 != *ensurepip* ]]")
    done = step(tools, "make_environment.sh", OWN_ENV="1", BASE_PYTHON=str(python), PY="unused")
    assert done.returncode != 0
    assert "apt-get install python3-venv" in done.stdout
    assert not (tools / "venv").exists()


def test_s3prl_beside_espnet_s3prl_is_refused(tmp_path: Path) -> None:
    tools = copy_tools(tmp_path)
    python = python_saying(tmp_path, "exit 0  # it has every distribution")
    done = step(tools, "install_espnet.sh", OWN_ENV="0", PY=str(python))
    assert done.returncode != 0
    assert "uninstall s3prl" in done.stdout


def test_wrong_source_archive_is_refused(tmp_path: Path) -> None:
    tools = copy_tools(tmp_path)
    body = 'for a; do d=$a; done; echo bad >"$d/espnet-202611.tar.gz"'  # a pip that fetches rubbish
    done = step(tools, "link_espnet_utils.sh", OWN_ENV="0", PY=str(python_saying(tmp_path, body)))
    assert done.returncode != 0
    assert "SHA-256 differs" in done.stdout
    assert not (tools / "utils").exists()


# ---- the mends


def test_drop_cut_installs_removes_only_unfinished_ones(tmp_path: Path) -> None:
    for name in ("whole-1.0.dist-info", "cut-2.0.dist-info"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "METADATA").touch()
    (tmp_path / "whole-1.0.dist-info" / "INSTALLER").touch()
    code = f"from drop_cut_installs import *; print(drop_cut_installs(Path({str(tmp_path)!r})))"
    done = run(sys.executable, "-c", code, PYTHONPATH=str(TOOLS / "installers"))
    assert done.stdout.strip() == "['cut-2.0.dist-info']"
    assert [d.name for d in tmp_path.iterdir()] == ["whole-1.0.dist-info"]


FAKE_TORCHAUDIO = """
from pathlib import Path
if Path(__file__).with_name("lib").joinpath("_torchaudio.abi3.so").exists():
    raise {error}("Could not load this library")
"""


@pytest.mark.parametrize("error, works", [("OSError", True), ("ValueError", False)])
def test_mend_torchaudio_moves_one_file_only_for_a_load_error(
    tmp_path: Path, error: str, works: bool
) -> None:
    lib = tmp_path / "torchaudio" / "lib"
    lib.mkdir(parents=True)
    lib.parent.joinpath("__init__.py").write_text(FAKE_TORCHAUDIO.format(error=error), "utf-8")
    lib.joinpath("_torchaudio.abi3.so").touch()
    done = run(
        sys.executable, TOOLS / "installers" / "mend_torchaudio.py", PYTHONPATH=str(tmp_path)
    )
    assert (done.returncode == 0) == works, done.stdout
    assert lib.joinpath("_torchaudio.abi3.so.off").exists() == works
    assert ("moved aside" in done.stdout) == works


def test_nltk_stand_ins_are_found_by_nltk_and_never_overwrite(tmp_path: Path) -> None:
    real = tmp_path / "nltk_data" / "corpora" / "cmudict.zip"
    real.parent.mkdir(parents=True)
    real.write_bytes(b"the user's own")
    code = f"from nltk_stand_ins import *; print(len(write_stand_ins(Path({str(tmp_path)!r}))))"
    done = run(sys.executable, "-c", code, PYTHONPATH=str(TOOLS / "installers"))
    assert done.stdout.strip() == "1"
    assert real.read_bytes() == b"the user's own"
    find = "import nltk; nltk.data.find('taggers/averaged_perceptron_tagger.zip')"
    found = run(sys.executable, "-c", find, NLTK_DATA=str(tmp_path / "nltk_data"))
    assert found.returncode == 0, found.stdout


# ---- check_install.py


def test_check_passes_on_this_environment() -> None:
    done = check("python", "numpy", "soundfile", "pystoi")
    assert done.returncode == 0, done.stdout
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["ok"] * 4


def test_check_fails_with_the_mend_when_a_part_is_missing(tmp_path: Path) -> None:
    (tmp_path / "pesq.py").write_text("raise ImportError('no pesq today')\n", encoding="utf-8")
    done = check("pesq", "numpy", path=tmp_path)
    assert done.returncode == 1
    assert "FAIL  pesq" in done.stdout
    assert "no pesq today" in done.stdout
    assert re.search(r"mend: .*python3-dev", done.stdout)
    assert re.search(r"^ok +numpy", done.stdout, re.MULTILINE), "one failure stops no other check"


def test_check_fails_when_s3prl_is_beside_espnet_s3prl(tmp_path: Path) -> None:
    info = tmp_path / "s3prl-0.4.18.dist-info"
    info.mkdir()
    info.joinpath("METADATA").write_text("Name: s3prl\nVersion: 0.4.18\n", encoding="utf-8")
    done = check("s3prl", path=tmp_path)
    assert done.returncode == 1
    assert "beside espnet-s3prl" in done.stdout
    assert "pip uninstall s3prl" in done.stdout


# ---- the package's own declaration


def test_setup_py_pulls_no_espnet_and_names_its_command(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("setup.py", "pyproject.toml"):
        shutil.copy2(ROOT / name, source)
    shutil.copytree(
        ROOT / "featnorm_se", source / "featnorm_se", ignore=shutil.ignore_patterns("__pycache__")
    )
    done = run(sys.executable, "setup.py", "-q", "egg_info", cwd=source)
    assert done.returncode == 0, done.stdout
    info = source / "featnorm_se.egg-info"
    requires = info.joinpath("requires.txt").read_text(encoding="utf-8")
    base = requires.split("[")[0]
    assert "torch>=" in base and "numpy" in base
    assert not re.search(r"espnet|s3prl|torchaudio", requires)
    assert {"[demo]", "[dnsmos]", "[dev]"} <= set(requires.splitlines())
    commands = info.joinpath("entry_points.txt").read_text(encoding="utf-8")
    assert "featnorm-se = featnorm_se.bin.main:main" in commands
    listed = info.joinpath("SOURCES.txt").read_text(encoding="utf-8")
    assert "featnorm_se/__init__.py" in listed and "test/" not in listed


def test_top_makefile_helps_and_knows_its_targets() -> None:
    done = run("make", "--no-print-directory", "help")
    assert done.returncode == 0
    for target in ("setup", "demo", "test", "lint", "clean", "distclean"):
        assert re.search(rf"^  {target} ", done.stdout, re.MULTILINE), target


def test_every_pin_is_explained() -> None:
    text = (ROOT / "doc" / "dependencies.md").read_text(encoding="utf-8")
    words = {re.sub(r"[-_.]+", "-", w).lower() for w in re.findall(r"[A-Za-z][\w.-]*", text)}
    names = [re.sub(r"[-_.]+", "-", line.split("==")[0]).lower() for line in requirement_lines()]
    assert [name for name in names if name not in words] == []
