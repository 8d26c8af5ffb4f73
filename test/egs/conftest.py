"""A recipe's own code can be imported as its scripts import it."""

import sys
from pathlib import Path

LOCALS = ("mini/enh1/local", "mini/enh1/local/baselines", "mini/ssl1/local")
for folder in (*LOCALS, "voicebank_demand/enh1/local"):
    sys.path.insert(0, str(Path(__file__).parents[2] / "egs" / folder))
