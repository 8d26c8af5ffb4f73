"""The console command ``featnorm-se``: one word, then the options of that command."""

import sys
from collections.abc import Sequence
from importlib import import_module

from featnorm_se.bin import run

# word: module below featnorm_se.bin, what it does
COMMANDS = {
    "enhance": ("enhance", "enhance audio files with a trained model"),
    "app": ("app", "a page to try a trained model in the browser"),
    "pack": ("pack", "make one file of a trained model, to give away"),
    "export-upstream": ("export_upstream", "write a trained upstream for s3prl, ESPnet and this"),
    "score": ("score", "score enhanced speech against clean speech"),
    "compare": ("compare", "compare experiments utterance by utterance"),
    "report": ("report", "write the results of experiments as tables and a page"),
    "info": ("info", "print what an upstream offers"),
    "stats": ("collect_stats", "collect an upstream's feature statistics over a corpus"),
    "prepare": ("prepare", "make data directories of a corpus"),
    "train": ("train", "fine-tune one model"),
}


def usage() -> str:
    """Return what ``--help`` prints."""
    width = max(map(len, COMMANDS))
    lines = [f"  {word:<{width}}  {text}\n" for word, (_, text) in COMMANDS.items()]
    return (
        f"usage: featnorm-se COMMAND [options]    featnorm-se --version\n\n{''.join(lines)}\n"
        "featnorm-se COMMAND --help has the options; --debug shows tracebacks."
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status, or 2 for a command that does not exist."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage(), file=sys.stdout if arguments else sys.stderr)
        return 0 if arguments else 2
    if arguments[0] == "--version":
        from featnorm_se import __version__

        print(f"featnorm_se {__version__}")
        return 0
    word, *rest = arguments
    if word not in COMMANDS:
        known = ", ".join(COMMANDS)
        print(f"featnorm_se: error: no such command: {word!r}; there are {known}", file=sys.stderr)
        return 2
    return run(import_module(f"featnorm_se.bin.{COMMANDS[word][0]}").main, rest)


if __name__ == "__main__":
    raise SystemExit(main())
