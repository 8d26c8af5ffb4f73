"""tools/audit.sh where there is nothing to ask: it says so, and never that all is well."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "tools" / "audit.sh"


def test_without_an_index_it_is_no_audit() -> None:
    done = subprocess.run(
        [str(SCRIPT), "requirements.txt"],
        env={**os.environ, "PIP_ARGS": "--no-index"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 3
    assert done.stderr.startswith("audit: error: ") and done.stderr.count("\n") == 1
    assert "this is no audit" in done.stderr and "vulnerabilities" not in done.stdout
