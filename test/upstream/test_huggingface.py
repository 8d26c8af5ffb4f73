"""Folders of Hugging Face's, written by transformers' own classes (huggingface/make_fixture.py)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from featnorm_se.upstream import load_upstream

FOLDERS = Path(__file__).parent / "huggingface"
NAMES = sorted(folder.parent.name for folder in FOLDERS.glob("*/config.json"))


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_every_site_is_as_in_transformers(name, fast):
    upstream = load_upstream(f"{name.split('_')[0]}_tiny", FOLDERS / name)
    upstream.configure(fast=fast)
    with np.load(FOLDERS / "expected.npz") as expected:
        wav = torch.from_numpy(expected["signal"])
        wanted = {site: torch.from_numpy(expected[f"{name}/{site}"]) for site in upstream.sites}
    with torch.no_grad():
        found, _ = upstream.extract(wav[None], torch.tensor([len(wav)]), list(upstream.sites))
    assert len(wanted) == 4
    for site, value in wanted.items():
        torch.testing.assert_close(found[site][0], value, atol=1e-5, rtol=1e-5)
