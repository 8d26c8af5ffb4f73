"""The console command: words, help, version, exit statuses."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from featnorm_se import __version__
from featnorm_se.bin.main import COMMANDS, main


def test_help_names_every_command_and_there_is_a_version(capsys):
    assert main(["--help"]) == 0
    printed = capsys.readouterr().out
    assert all(f"  {word} " in printed for word in COMMANDS)
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"featnorm_se {__version__}\n"


def test_no_command_and_an_unknown_one(capsys):
    assert main([]) == 2
    assert "usage" in capsys.readouterr().err
    assert main(["enhence"]) == 2
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert "'enhence'; there are enhance, app, pack" in printed


@pytest.mark.parametrize("word", COMMANDS)
def test_every_command_exists_and_has_help(word, capsys):
    assert find_spec(f"featnorm_se.bin.{COMMANDS[word][0]}"), word
    with pytest.raises(SystemExit) as caught:
        main([word, "--help"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: featnorm-se {word} ")


def test_the_status_is_the_commands(tmp_path, capsys):
    argv = ["enhance", str(tmp_path / "x.wav"), "-o", "y.wav", "--model", str(tmp_path)]
    assert main(argv) == 1
    assert capsys.readouterr().err.startswith("featnorm_se: error: no such file")
