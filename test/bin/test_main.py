"""The console command: words, help, version, exit statuses."""

from __future__ import annotations

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
