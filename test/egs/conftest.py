"""A recipe's own code can be imported as its scripts import it."""

from __future__ import annotations

import sys
from pathlib import Path

for recipe in ("mini/enh1", "mini/ssl1", "voicebank_demand/enh1"):
    sys.path.insert(0, str(Path(__file__).parents[2] / "egs" / recipe / "local"))
