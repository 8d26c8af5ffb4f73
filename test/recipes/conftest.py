"""What later stages of a recipe look for, and a python that runs none of them."""

from pathlib import Path

import pytest
from recipe_runs import telling_python


@pytest.fixture
def ready(tmp_path: Path) -> Path:
    """A python that only tells what it was asked, and the lists that stages 2 to 4 look for."""
    for name in ("train/wav.scp", "train/spk1.scp", "test/wav.scp"):
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).write_text("a a.wav\n")
    return telling_python(tmp_path / "python")
