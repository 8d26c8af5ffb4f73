"""Losses, statistics and enhanced samples are those of ``golden.json``, to rounding."""

import json
from pathlib import Path

import numpy as np
import pytest
from golden_numbers import MEASURED, measure

GOLDEN = json.loads((Path(__file__).parent / "golden.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("what", MEASURED)
def test_the_numbers_stay(what: str, tmp_path: Path) -> None:
    found = measure(tmp_path, what)
    assert list(found) == list(GOLDEN[what])
    for name, values in found.items():
        np.testing.assert_allclose(values, GOLDEN[what][name], rtol=2e-4, atol=2e-6, err_msg=name)
