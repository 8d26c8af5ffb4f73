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


def copy_tools(target: Path) -> Path:
    """Copy the parts of the set-up that git has to ``target/tools``."""
    tools = target / "tools"
    tools.mkdir()
    for name in ("Makefile", "requirements.txt"):
        shutil.copy2(TOOLS / name, tools)
    shutil.copytree(TOOLS / "installers", tools / "installers")
    (target / "setup.py").touch()
    return tools


# ---- the pinned list


def test_every_requirement_is_an_exact_pin_once_and_explained() -> None:
    text = (TOOLS / "requirements.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert not [r for r in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][\w.]*", r)]
    names = [re.sub(r"[-_.]+", "-", line.split("==")[0]).lower() for line in lines]
    assert len(names) > 80 and sorted(names) == sorted(set(names))
    page = (ROOT / "doc" / "dependencies.md").read_text(encoding="utf-8")
    words = {re.sub(r"[-_.]+", "-", w).lower() for w in re.findall(r"[A-Za-z][\w.-]*", page)}
    assert [name for name in names if name not in words] == []


# ---- the Makefile: stamps


def test_make_runs_what_is_left_to_do_in_order(tmp_path: Path) -> None:
    tools = copy_tools(tmp_path)
    python = tmp_path / "env" / "bin" / "python"  # make asks it for nothing but its prefix
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/sh\necho {tmp_path / 'env'}\n", encoding="utf-8")
    python.chmod(0o755)
    log = tmp_path / "log"
    for step in (tools / "installers").glob("*.sh"):
        step.write_text(
            f'#!/bin/bash\necho "${{STEP:-}} ${{STAMP:-}}" >>"{log}"\n'
            '[[ -z ${STAMP:-} ]] || { mkdir -p "$(dirname "$STAMP")"; touch "$STAMP"; }\n',
            encoding="utf-8",
        )

    def make() -> list[list[str]]:
        log.write_text("", encoding="utf-8")
        done = run("make", f"PYTHON={python}", cwd=tools)
        assert done.returncode == 0 and "Set-up is complete" in done.stdout, done.stdout
        return [line.split() for line in log.read_text().splitlines() if "/9" in line]

    first = make()
    assert [step for step, _ in first] == [f"{n}/9" for n in range(1, 10)]
    assert make() == []
    for _, stamp in first[3:]:  # as if it had been cut after three steps
        (tools / stamp).unlink()
    assert make() == first[3:]


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


@pytest.mark.parametrize(
    ("body", "name", "own", "said", "kept_out"),
    [
        ("[[ $2 == *platform* ]] && echo 3.9.2; [[ $2 == *platform* ]]", "make_environment.sh",
         "1", "is Python 3.9.2: 3.11 or 3.12 is needed", "venv"),
        ("[[ $2 != *ensurepip* ]]", "make_environment.sh", "1", "install python3-venv", "venv"),
        ("exit 0  # it has every distribution", "install_espnet.sh", "0", "uninstall s3prl", ""),
        ('for a; do d=$a; done; echo bad >"$d/espnet-202611.tar.gz"', "link_espnet_utils.sh",
         "0", "SHA-256 differs", "utils"),
    ],
    ids=["old python", "no venv", "s3prl beside espnet-s3prl", "a wrong archive"],
)  # fmt: skip
def test_what_is_refused(
    tmp_path: Path, body: str, name: str, own: str, said: str, kept_out: str
) -> None:
    tools = copy_tools(tmp_path)
    python = tmp_path / "python3"
    python.write_text(f"#!/bin/bash\n{body}\n", encoding="utf-8")
    python.chmod(0o755)
    pythons = {"PY": str(python), "BASE_PYTHON": str(python)}
    stamp = str(tools / "a.done")
    done = run(tools / "installers" / name, STEP="1/9", STAMP=stamp, OWN_ENV=own, **pythons)
    assert done.returncode != 0 and said in done.stdout
    assert not Path(stamp).exists() and not (kept_out and (tools / kept_out).exists())


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


def test_check_tells_what_is_missing_and_its_mend(tmp_path: Path) -> None:
    script = (sys.executable, TOOLS / "check_install.py")
    done = run(*script, "python", "numpy", "soundfile", "pystoi")
    assert done.returncode == 0, done.stdout
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["ok"] * 4
    (tmp_path / "pesq.py").write_text("raise ImportError('no pesq today')\n", encoding="utf-8")
    info = tmp_path / "s3prl-0.4.18.dist-info"
    info.mkdir()
    info.joinpath("METADATA").write_text("Name: s3prl\nVersion: 0.4.18\n", encoding="utf-8")
    done = run(*script, "pesq", "s3prl", "numpy", PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert "FAIL  pesq" in done.stdout and "no pesq today" in done.stdout
    assert re.search(r"mend: .*python3-dev", done.stdout)
    assert "beside espnet-s3prl" in done.stdout and "pip uninstall s3prl" in done.stdout
    assert re.search(r"^ok +numpy", done.stdout, re.MULTILINE), "one failure stops no other check"


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
