"""An experiments folder as stages 3 and 4 leave it."""

from pathlib import Path

import pytest
from made_experiments import make_experiments


@pytest.fixture
def expdir(tmp_path: Path) -> Path:
    """Two experiments of one upstream, the noisy input, and a folder that is none."""
    return make_experiments(tmp_path / "exp")
