"""The set-up: its pins, its scripts, and what they refuse. No network."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy
import pytest
import soundfile

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / "tools"


def run(*command: str | Path, cwd: Path = ROOT, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command and return what it printed, stdout and stderr together."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    environment = {**os.environ, "PYTHONPATH": "", **env}  # of this checkout
    return subprocess.run([str(c) for c in command], cwd=cwd, env=environment, **pipes)


def copy_tools(target: Path) -> Path:
    """Copy the parts of the set-up that git has to ``target/tools``."""
    tools = target / "tools"
    tools.mkdir()
    for name in ("requirements.txt", "requirements-py311.txt"):
        shutil.copy2(TOOLS / name, tools)
    shutil.copytree(TOOLS / "installers", tools / "installers")
    (target / "setup.py").touch()
    return tools


# ---- the pinned lists


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("pins", ["requirements.txt", "requirements-py311.txt"])
def test_every_requirement_is_an_exact_pin_and_ours_are_explained(pins: str) -> None:
    lines = (TOOLS / pins).read_text(encoding="utf-8").splitlines()
    lines = [line for line in lines if line and not line.startswith("#")]
    assert not [r for r in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][\w.]*", r)]
    names = [normal(line.split("==")[0]) for line in lines]
    assert len(names) > 80 and names == sorted(set(names))
    ours = re.findall(
        r'^ {4,8}"([\w-]+)[^"]*"[,\]]?', (ROOT / "setup.py").read_text(), re.MULTILINE
    )
    ours += re.findall(r'"([\w-]+)>=[^"]*"', (ROOT / "setup.py").read_text())
    ours = [normal(name) for name in ours if name not in ("recipes", "app", "dnsmos", "dev")]
    page = (ROOT / "doc" / "dependencies.md").read_text(encoding="utf-8")
    explained = {normal(word) for word in re.findall(r"[A-Za-z][\w.-]*", page)}
    assert len(ours) > 25 and [name for name in ours if name not in explained] == []
    optional = {"gradio", "speechmos", "onnxruntime"}
    assert {name for name in ours if name not in names} <= optional


# ---- what is fetched


def python_saying(path: Path, body: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/bash\n{body}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def test_another_archive_than_espnets_is_not_unpacked(tmp_path: Path) -> None:
    tools = copy_tools(tmp_path)
    body = 'for a; do d=$a; done; echo bad >"$d/espnet-202611.tar.gz"'
    places = {"PY": str(python_saying(tmp_path / "bin" / "python3", body))}
    places |= {"BASE_PYTHON": places["PY"], "STAMP": str(tools / "a.done")}
    done = run(tools / "installers" / "link_espnet_utils.sh", STEP="1/4", OWN_ENV="0", **places)
    assert done.returncode != 0 and "SHA-256 differs" in done.stdout
    assert not (tools / "a.done").exists() and not (tools / "utils").exists()


PIP = """
case "$*" in
    *"pip"*" install "*)
        echo "$*" >>{log}
        for file; do [[ $file != *held.txt ]] || cat "$file" >>{log}; done;;
    *m.version*) exit 1;;
    *version_info*) echo {version};;
    *purelib*) echo {site};;
    *"pip"*" list "*) echo torch==2.13.0+cpu;;
esac
"""


@pytest.mark.parametrize(
    ("version", "own", "wanted"),
    [("3.13", "1", ["/requirements.txt --editable"]),
     ("3.11", "1", ["/requirements-py311.txt", "--no-deps espnet==202511"]),
     ("3.13", "0", ["held.txt", "torch==2.13.0+cpu"])],
)  # fmt: skip
def test_packages_by_the_python_at_hand(tmp_path, version, own, wanted):
    tools, log = copy_tools(tmp_path), tmp_path / "log"
    for name in ("cut-2.0", "whole-1.0"):
        (tmp_path / "site" / f"{name}.dist-info").mkdir(parents=True)
    (tmp_path / "site" / "whole-1.0.dist-info" / "INSTALLER").touch()
    body = PIP.format(version=version, site=tmp_path / "site", log=log)
    python = python_saying(tmp_path / "env" / "python3", body)
    places = {"PY": str(python), "STAMP": str(tools / "a.done")}
    done = run(tools / "installers/install_packages.sh", OWN_ENV=own, PIP_ARGS="--pre", **places)
    assert done.returncode == 0, done.stdout
    calls = log.read_text(encoding="utf-8")
    assert [part for part in [*wanted, "install --no-input --pre"] if part not in calls] == []
    assert calls.count(" install ") == (2 if version == "3.11" else 1)
    left = {path.name for path in (tmp_path / "site").iterdir()}
    assert ("cut-2.0.dist-info" in left) == (own == "0") and "whole-1.0.dist-info" in left


# ---- the package as others install it


def test_a_wheel_in_a_clean_environment_enhances_a_file(tmp_path: Path) -> None:
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "-q")
    source = tmp_path / "source"
    source.mkdir()
    for name in ("setup.py", "pyproject.toml", "LICENSE", "README.md"):
        shutil.copy2(ROOT / name, source)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "featnorm_se", source / "featnorm_se", ignore=ignored)
    built = run(*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", tmp_path, source)
    assert built.returncode == 0, built.stdout
    # The others' packages are lent by this environment; its link to this checkout is not.
    env = tmp_path / "env"
    assert run(sys.executable, "-m", "venv", "--without-pip", env).returncode == 0
    site = next((env / "lib").glob("python3*")) / "site-packages"
    (site / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    wheel = next(tmp_path.glob("*.whl"))
    done = run(*pip, f"--python={env}", "install", "--no-deps", "--no-index", wheel)
    assert done.returncode == 0, done.stdout
    metadata = next(site.glob("featnorm_se-*.dist-info")).joinpath("METADATA").read_text("utf-8")
    for line in ('espnet>=202511; python_version >= "3.12"', "torch>=", "numpy<2.4,>=2.0; python"):
        assert f"Requires-Dist: {line}" in metadata
    noisy = 0.1 * numpy.random.default_rng(0).standard_normal(16000)
    soundfile.write(tmp_path / "noisy.wav", noisy, 16000)
    command = env / "bin" / "featnorm-se"
    done = run(command, "enhance", "noisy.wav", "-o", "clean.wav", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert soundfile.info(tmp_path / "clean.wav").frames == 16000
    for cards in ("wavlm", "tera_tiny"):
        assert site.joinpath(f"featnorm_se/upstream/conf/{cards}.yaml").is_file()


# ---- the audit


def test_without_an_index_it_is_no_audit(tmp_path: Path) -> None:
    """Where there is nothing to ask it says so, and never that all is well."""
    makes = '[[ $2 == venv ]] && mkdir -p "$3/bin" && ln -s /bin/false "$3/bin/pip"; exit 0'
    python = python_saying(tmp_path / "bin" / "python3", makes)
    done = run(TOOLS / "audit.sh", "requirements.txt", FEATNORM_SE_PYTHON=str(python))
    assert done.returncode == 3 and done.stdout.splitlines()[-1].startswith("audit: error: ")
    assert "this is no audit" in done.stdout and "vulnerabilities" not in done.stdout
