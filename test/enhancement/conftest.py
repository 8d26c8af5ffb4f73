"""What the tests of enhancing share."""

from __future__ import annotations

import pytest
import torch
from tiny_experiments import save_tiny


@pytest.fixture(scope="session")
def tiny_experiment(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("exp") / "tiny")


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)
