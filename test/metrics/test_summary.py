from __future__ import annotations

import pytest

from featnorm_se.metrics.summary import describe, summarize
from featnorm_se.metrics.worker import Row


def test_describe_against_known_values() -> None:
    found = describe([1.0, 2.0, 3.0, 4.0])
    assert found["mean"] == 2.5
    assert found["std"] == pytest.approx(1.2909944)
    # Student's t with 3 degrees of freedom: 3.182446.
    assert found["ci95"] == pytest.approx([2.5 - 2.0542, 2.5 + 2.0542], abs=1e-3)
    assert found["count"] == 4
    assert describe([]) == {"mean": None, "std": None, "ci95": None, "count": 0}


ROWS = [
    Row("a", {"STOI": 0.5, "SSNR": 1.0}),
    Row("b", {"STOI": 0.7, "SSNR": 3.0}, cut=5),
    Row("c", {"SSNR": 8.0}, {"STOI": "too short"}),
    Row("d", fault="no reference"),
]


def test_summary_counts() -> None:
    summary = summarize(ROWS, ["STOI", "SSNR"])
    assert summary["utterances"] == 4
    assert summary["failures"] == [
        {"utt_id": "c", "reason": "STOI: too short"},
        {"utt_id": "d", "reason": "no reference"},
    ]
    assert summary["cut_to_shorter"] == {"b": 5}
    assert summary["metrics"]["STOI"]["mean"] == pytest.approx(0.6)
    assert summary["metrics"]["SSNR"]["count"] == 3
    assert "conditions" not in summary


def test_by_condition() -> None:
    conditions = {"a": ("cafe", 10.0), "b": ("bus", 2.5), "c": ("cafe", 2.5)}
    found = summarize(ROWS, ["STOI", "SSNR"], conditions)["conditions"]
    assert list(found["snr"]) == ["2.5", "10", "unknown"]
    assert found["snr"]["2.5"] == {"utterances": 2, "STOI": 0.7, "SSNR": 5.5}
    assert found["noise"]["cafe"] == {"utterances": 2, "STOI": 0.5, "SSNR": 4.5}
    assert found["snr"]["unknown"] == {"utterances": 1, "STOI": None, "SSNR": None}
    assert list(found["noise"]) == ["bus", "cafe", "unknown"]
