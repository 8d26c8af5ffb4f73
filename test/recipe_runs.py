"""Scripts of the recipes, run as a user runs them."""

import os
import subprocess
from pathlib import Path

EGS = Path(__file__).parents[1] / "egs"


def run_script(script: str, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script below egs/, ``mini/enh1/run.sh`` say, in its own folder."""
    place = EGS / script
    return subprocess.run(
        [f"./{place.name}", *options],
        cwd=place.parent,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=600,  # a follower that is not ended would wait for ever
    )


def places(folder: Path) -> list[str]:
    """Return the options that keep all that a recipe writes below a folder."""
    names = ("exp", "data", "dump")
    return [word for name in names for word in (f"--{name}dir", str(folder / name))]


def telling_python(place: Path) -> Path:
    """Write a python that tells the arguments of checks and stages 2 to 4, and runs the rest."""
    python = os.environ.get("FEATNORM_SE_PYTHON", "python3")
    place.write_text(
        "#!/bin/bash\n[[ $1 != */check_config.py ]] ||"
        ' { echo "told: $*"; exit; }\n'
        "case ${2#featnorm_se.bin.} in train | collect_stats | enhance_set | score)"
        f' echo "told: $*" ;; *) exec {python} "$@" ;; esac\n'
    )
    place.chmod(0o755)
    return place
