"""Run one of ESPnet's own commands with this project's separator and loss registered."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Sequence

from featnorm_se.bin import run
from featnorm_se.errors import FeatnormError

USAGE = """usage: python -m featnorm_se.bin.espnet MODULE [ARGUMENT ...]

Run an ESPnet command on a model trained here, for example:

  python -m featnorm_se.bin.espnet espnet2.bin.enh_inference --train_config exp/X/config.yaml \\
      --model_file exp/X/valid.loss.best.pth --fs 16000 --output_dir out \\
      --data_path_and_name_and_type data/test/wav.scp,speech_mix,sound"""


def main(argv: Sequence[str]) -> None:
    """Register, then run the module as a program of its own."""
    if not argv or argv[0] in ("-h", "--help"):
        print(USAGE)
        return
    module = argv[0]
    if not module.startswith("espnet2.bin."):
        raise FeatnormError(f"{module!r} is no ESPnet command: espnet2.bin.<name> is wanted")
    from featnorm_se.training.task import register

    register()
    sys.argv = list(argv)
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise FeatnormError(f"ESPnet has no command {module}") from error


if __name__ == "__main__":
    raise SystemExit(run(main))
