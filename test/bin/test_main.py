"""The console command: words, help, version, exit statuses."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import pytest

from featnorm_se import __version__
from featnorm_se.bin.main import COMMANDS, main


def test_help_names_every_command(capsys):
    assert main(["--help"]) == 0
    printed = capsys.readouterr().out
    assert all(f"  {word} " in printed for word in COMMANDS)


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"featnorm_se {__version__}\n"


def test_no_command_and_an_unknown_one(capsys):
    assert main([]) == 2
    assert "usage" in capsys.readouterr().err
    assert main(["enhence"]) == 2
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert "'enhence'; there are enhance, pack" in printed


@pytest.mark.parametrize("word", COMMANDS)
def test_every_command_exists_and_has_help(word, capsys):
    assert find_spec(f"featnorm_se.bin.{COMMANDS[word][0]}"), word
    with pytest.raises(SystemExit) as caught:
        main([word, "--help"])
    assert caught.value.code == 0
    assert "usage" in capsys.readouterr().out


def test_the_status_is_the_commands(tmp_path, capsys):
    argv = ["enhance", str(tmp_path / "x.wav"), "-o", "y.wav", "--model", str(tmp_path)]
    assert main(argv) == 1
    assert capsys.readouterr().err.startswith("featnorm_se: error: no such file")


def test_help_and_version_load_nothing_heavy():
    code = (
        "import sys; from featnorm_se.bin.main import main; main(['--help']); main(['--version']);"
        "print(sorted({'torch', 'numpy', 'espnet2', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]"
