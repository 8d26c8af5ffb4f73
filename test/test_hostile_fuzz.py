"""The targets of tools/fuzz, for a moment each, and what longer runs of them have found."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

sys.path.insert(0, str(Path(__file__).parents[1] / "tools" / "fuzz"))
import targets

from featnorm_se.errors import FeatnormError
from featnorm_se.files import parse_yaml
from featnorm_se.statistics import FeatureStats


@pytest.mark.parametrize("name", sorted(targets.TARGETS))
def test_a_reader_reads_or_refuses(name: str) -> None:
    quick = settings(
        max_examples=40, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    quick(targets.TARGETS[name])()


def test_the_script_knows_all_targets() -> None:
    import run

    assert set(run.NAMES) == set(targets.TARGETS)


@pytest.mark.parametrize(
    "text",
    ["!!bool ", "!!int ", "!!timestamp ", "!!timestamp x", "2001-99-99", "a: !!float x", "&a [*a]",
     "{1: 2}", "a: {no: 1}", "!!set {a}\n? b", "%TAG !", "a: 'x\0'", "[" * 5000, "!!binary x"],
)  # fmt: skip
def test_yaml_that_pyyaml_trips_over(text: str) -> None:
    with pytest.raises(FeatnormError, match="^here is no YAML: ") as caught:
        parse_yaml(text, "here")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "meta",
    [{"samples": "many"}, {"samples": -1}, {"utterances": 1.5}, {"corpus": 0}, {"corpus": "xyz"},
     {"sites": "ab"}, {"sites": [["a"]]}, {"sites": {"a": 1}}, {"format": None}],
)  # fmt: skip
def test_statistics_whose_meta_data_are_of_the_wrong_kind(tmp_path: Path, meta: dict) -> None:
    path = tmp_path / "x.npz"
    arrays = {"a/frames": np.int64(3), "a/mean": np.zeros(2), "a/m2": np.ones(2)}
    told = {"format": 1, "sites": ["a"], "kind": "clean"}
    np.savez(path, meta=np.array(json.dumps(told)), **arrays)
    FeatureStats.load(path)
    np.savez(path, meta=np.array(json.dumps({**told, **meta})), **arrays)
    with pytest.raises(FeatnormError, match="no whole statistics file"):
        FeatureStats.load(path)


@pytest.mark.parametrize("text", ["[" * 5000, '"' + "x" * 9 + '"', "{", "\ud800"])
def test_statistics_whose_meta_data_are_no_group(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, meta=np.array(text))
    with pytest.raises(FeatnormError, match="no whole statistics file"):
        FeatureStats.load(path)


def test_a_header_of_numpy_that_is_no_python(tmp_path: Path) -> None:
    """Its tokenizer raises an error of its own."""
    good = targets.good_statistics()
    path = tmp_path / "x.npz"
    path.write_bytes(good.replace(b"'shape': (3,), }", b"'shape': (3,(((("))
    with pytest.raises(FeatnormError, match="no whole statistics file"):
        FeatureStats.load(path)


def test_an_scp_keeps_what_others_take_for_line_ends(tmp_path: Path) -> None:
    from featnorm_se.data.scp import read_scp

    (tmp_path / "x.scp").write_bytes("a x\u2028y\n".encode())
    with pytest.raises(FeatnormError, match="line 1: .* odd character"):
        read_scp(tmp_path / "x.scp")
    (tmp_path / "x.scp").write_bytes(b"a x y.wav\r\nb z.wav\r\n")
    assert read_scp(tmp_path / "x.scp") == {"a": "x y.wav", "b": "z.wav"}
