"""The recipe's own code can be imported as its scripts import it."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3] / "egs" / "mini" / "enh1" / "local"))
