from __future__ import annotations

from pathlib import Path

import pytest

from featnorm_se.errors import FeatnormError
from featnorm_se.metrics import cache
from featnorm_se.metrics.cache import CACHE_NAME, Row, ScoreCache


def test_rows_come_back_after_a_kill(tmp_path: Path) -> None:
    first = ScoreCache(tmp_path, ["STOI", "SI_SDR"])
    first.add("k1", Row("a", {"STOI": 0.5, "SI_SDR": 3.0}, cut=7))
    first.add("k2", Row("b", {"SI_SDR": 1.0}, {"STOI": "too short"}))
    first.close()
    with open(tmp_path / CACHE_NAME, "a") as handle:
        handle.write('{"key": "k3", "cut": 0, "meas')
    second = ScoreCache(tmp_path, ["STOI", "SI_SDR"])
    assert second.find("k1", "z") == Row("z", {"STOI": 0.5, "SI_SDR": 3.0}, cut=7)
    assert second.find("k2", "b") == Row("b", {"SI_SDR": 1.0}, {"STOI": "too short"})
    assert second.find("k3", "c") is None
    second.add("k3", Row("c", {"STOI": 0.1, "SI_SDR": 0.0}))
    second.close()
    third = ScoreCache(tmp_path, ["STOI", "SI_SDR"])
    assert third.find("k3", "c") == Row("c", {"STOI": 0.1, "SI_SDR": 0.0})
    third.close()


def test_only_new_metrics_are_missing(tmp_path: Path) -> None:
    first = ScoreCache(tmp_path, ["SI_SDR"])
    first.add("k", Row("a", {"SI_SDR": 3.0}))
    first.close()
    second = ScoreCache(tmp_path, ["SI_SDR", "SDR"])
    assert second.missing("k") == ("SDR",)
    assert second.find("k", "a") is None
    second.add("k", Row("a", {"SDR": 4.0}))
    assert second.find("k", "a") == Row("a", {"SI_SDR": 3.0, "SDR": 4.0})
    second.close()


def test_another_version_counts_as_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = ScoreCache(tmp_path, ["SI_SDR"])
    first.add("k", Row("a", {"SI_SDR": 3.0}))
    first.close()
    monkeypatch.setattr(cache, "FORMULAE_VERSION", "another")
    second = ScoreCache(tmp_path, ["SI_SDR"])
    assert second.find("k", "a") is None
    second.close()


def test_two_writers_are_refused(tmp_path: Path) -> None:
    first = ScoreCache(tmp_path, ["SI_SDR"])
    with pytest.raises(FeatnormError, match="scored into by another process"):
        ScoreCache(tmp_path, ["SI_SDR"])
    first.close()
    ScoreCache(tmp_path, ["SI_SDR"]).close()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FeatnormError, match="cannot write"):
        ScoreCache(tmp_path / "file", ["SI_SDR"])


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    cache = ScoreCache(tmp_path, ["SI_SDR"])
    cache._file.close()
    cache._file = open("/dev/full", "w")  # noqa: SIM115 (the cache closes it)
    with pytest.raises(FeatnormError, match="cannot write /dev/full: No space left"):
        cache.add("k", Row("a", {"SI_SDR": 3.0}))
    cache.close()  # what is still in the buffer must not hide the error above
