from __future__ import annotations

import base64
import io

import numpy as np
import pytest
import soundfile

from featnorm_se.report.examples import choose, data_uri


def test_best_median_worst() -> None:
    noisy = {f"u{i}": {"PESQ_WB": 1.0} for i in range(5)}
    judged = {f"u{i}": {"PESQ_WB": 1.0 + 0.1 * i} for i in range(5)}
    found = choose(noisy, judged)
    assert [(which, name) for which, name, _ in found] == [
        ("best gain", "u4"),
        ("median gain", "u2"),
        ("worst gain", "u0"),
    ]
    assert found[0][2] == pytest.approx(0.4)
    assert [n for _, n, _ in choose({"a": {"PESQ_WB": 1}}, {"a": {"PESQ_WB": 2}})] == ["a"]


def test_audio_survives_its_encoding() -> None:
    tone = (0.5 * np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)).astype(np.float32)
    head, content = data_uri(tone, 16000).split(",")
    assert head == "data:audio/flac;base64"
    decoded, rate = soundfile.read(io.BytesIO(base64.b64decode(content)))
    assert rate == 16000
    np.testing.assert_allclose(decoded, tone, atol=1e-4)
