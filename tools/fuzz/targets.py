"""What is fuzzed: each reader of our own formats, as one hypothesis test that takes what may come.

A target holds when its reader gives a value that the rest of the program can use, or refuses with
a ``FeatnormError`` of one line that names the file. Both engines of ``tools/fuzz`` and
``test/test_hostile_fuzz.py`` run the same targets.
"""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from featnorm_se.data.scp import read_scp, write_scp
from featnorm_se.errors import FeatnormError
from featnorm_se.statistics import FeatureStats, SiteStats


@cache
def folder() -> Path:
    """Return a scratch folder that lives as long as the process."""
    kept = tempfile.TemporaryDirectory(prefix="featnorm_se_fuzz")
    _KEPT.append(kept)
    return Path(kept.name)


_KEPT: list[tempfile.TemporaryDirectory[str]] = []


def outcome(names: object, call: Callable[[], Any]) -> Any:
    """Return what the call gives; ``None`` when it refuses in one line that has ``names`` in it."""
    try:
        return call()
    except FeatnormError as error:
        told = str(error)
        assert "\n" not in told and "\r" not in told, told
        assert str(names) in told, told
        assert len(told) < 2000, len(told)
        return None


def edited(whole: bytes) -> st.SearchStrategy[bytes]:
    """Files near a good one: bytes changed, the end cut, bytes put in."""
    place = st.integers(0, len(whole) - 1)

    def edit(changes: list[tuple[int, bytes, bool]], keep: int) -> bytes:
        data = bytearray(whole[: len(whole) - keep])
        for position, new, over in changes:
            data[position : position + len(new) * over] = new
        return bytes(data)

    changes = st.lists(st.tuples(place, st.binary(max_size=8), st.booleans()), max_size=6)
    return st.builds(edit, changes, st.just(0) | st.integers(0, len(whole)))


SCP_TEXT = st.lists(
    st.tuples(
        st.text(max_size=6),
        st.sampled_from([" ", "\t", "", "\u3000", "\x85", "  "]),
        st.text(max_size=12),
        st.sampled_from(["\n", "\r\n", "\r", "", "\n\n", "\u2028"]),
    ).map("".join),
    max_size=6,
).map(lambda lines: "".join(lines).encode("utf-8", "surrogatepass"))


@given(st.binary(max_size=60) | SCP_TEXT | edited(b"p226_001 /a b/x.wav\np226_002 y.ark:17\n"))
def fuzz_scp(content: bytes) -> None:
    """What is read can be written, and reads the same again."""
    path = folder() / "x.scp"
    path.write_bytes(content)
    entries = outcome(path, lambda: read_scp(path))
    if entries is not None:
        again = folder() / "again.scp"
        write_scp(again, entries)
        assert read_scp(again) == entries


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=8,
)
SITES = st.sampled_from(["frontend", "layer.1", "level", "", "a/b"])
META = st.fixed_dictionaries(
    {"format": st.just(1) | JSON, "sites": st.lists(SITES, max_size=3) | JSON},
    optional={
        key: JSON
        for key in (
            "kind",
            "corpus",
            "utterances",
            "samples",
            "sample_rate",
            "identity",
            "upstream",
        )
    },
)
DTYPES = st.sampled_from(["<f8", "<f4", "<i8", "?", "<U3", "<c16", "|O", "<M8[s]", "|S4", "|V8"])


@st.composite
def arrays(draw: st.DrawFn) -> bytes:
    """A member of an npz: a plausible array, or a header that says what it likes."""
    if draw(st.booleans()):
        values = draw(st.lists(st.floats(), max_size=4))
        buffer = io.BytesIO()
        np.save(buffer, np.array(values[0] if draw(st.booleans()) and values else values))
        return buffer.getvalue()
    shape = draw(
        st.lists(st.integers(-1, 5) | st.integers(-(2**40), 2**40), max_size=3).map(tuple) | JSON
    )
    header = f"{{'descr': {draw(DTYPES)!r}, 'fortran_order': False, 'shape': {shape!r}, }}\n"
    text = draw(st.just(header) | st.text(max_size=40)).encode("utf-8", "replace")
    size = draw(st.just(len(text)) | st.integers(0, 65535))
    version = draw(st.sampled_from([b"\x01\x00", b"\x02\x00", b"\x09\x00"]))
    length = size.to_bytes(2 if version[0] == 1 else 4, "little")
    return b"\x93NUMPY" + version + length + text + draw(st.binary(max_size=24))


@st.composite
def statistics_files(draw: st.DrawFn) -> bytes:
    """An npz in the layout of a statistics file, with contents that may be anything."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        meta = draw(META.map(json.dumps) | st.text(max_size=20))
        held = io.BytesIO()
        np.save(held, np.array(meta.replace("\0", "")))
        archive.writestr("meta.npy", held.getvalue())
        for site in draw(st.lists(SITES, max_size=2, unique=True)):
            for part in ("frames", "mean", "m2", "utterances/frames", "utterances/mean"):
                if draw(st.integers(0, 9)):
                    archive.writestr(f"{site}/{part}.npy", draw(arrays()))
    return buffer.getvalue()


@cache
def good_statistics() -> bytes:
    """Return a good statistics file's bytes."""
    path = folder() / "good.npz"
    sites = {site: SiteStats.of(np.eye(3)) for site in ("frontend", "layer.1")}
    spread = {"frontend": SiteStats.of(np.eye(6))}
    meta = {"kind": "clean", "identity": "scratch:0", "sample_rate": 16000, "corpus": "1f"}
    FeatureStats(sites, {**meta, "samples": 99, "utterances": 2}, spread).save(path)
    return path.read_bytes()


@given(st.deferred(lambda: statistics_files() | edited(good_statistics())))
def fuzz_statistics(content: bytes) -> None:
    """What is read can be described, merged and checked."""
    path = folder() / "x.npz"
    path.write_bytes(content)
    stats = outcome(path, lambda: FeatureStats.load(path))
    if stats is None:
        return
    stats.describe()
    outcome("", lambda: stats.merge(stats).save(folder() / "merged.npz"))
    outcome("", lambda: stats.check(identity="x", sites={"frontend": 3}, kind="clean"))


YAML_WORDS = st.sampled_from(
    ["&a ", "*a", "[", "]", "{", "}", ": ", "- ", "\n", "  ", ",", "!!", "!!int ", "!!timestamp "]
    + ["!!bool ", "!!binary ", "!!python/name:os.system", "|", ">", "?", "a", "1", "~", "1:2", "<<"]
    + ["'", '"', "---\n", "%TAG", "base", "2001-99-99", "0x", "1e999", "=", "\t", "\0", "!!omap "]
)
YAML = st.lists(YAML_WORDS | st.text(max_size=3), max_size=14).map("".join)
CONFIG = b"optim: adam\noptim_conf:\n  lr: 0.001\nmax_epoch: 3\nseparator_conf: {units: 8}\n"


@given(st.text(max_size=20) | st.tuples(st.text(max_size=8), YAML).map("=".join))
def fuzz_override(override: str) -> None:
    """An override gives a configuration that can be written to a file, or is refused."""
    import yaml

    from featnorm_se.enhancement.experiment import apply_override

    config: dict[str, Any] = {"optim": "adam", "separator_conf": {"units": 8}}
    outcome("--set", lambda: apply_override(config, override))
    assert yaml.safe_dump(config)


@given(YAML.map(str.encode) | edited(CONFIG), YAML.map(str.encode) | edited(b"base: top.yaml\n"))
def fuzz_config(base: bytes, top: bytes) -> None:
    """Two files, one perhaps the other's base, are read together or refused."""
    from featnorm_se.enhancement.experiment import read_config

    for name in ("top.yaml", "base.yaml"):
        (folder() / name).write_bytes(b"base: base.yaml\n" + top if name == "top.yaml" else base)
    config = outcome(folder(), lambda: read_config(folder() / "top.yaml"))
    assert config is None or (isinstance(config, dict) and len(json.dumps(config, default=str)))


@cache
def good_packed() -> bytes:
    """Return a small zip in the layout of a packed model."""
    import torch
    from safetensors.torch import save

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("model.safetensors", save({"separator.x": torch.ones(2)}))
        archive.writestr("config.yaml", CONFIG)
    return buffer.getvalue()


@st.composite
def packed_files(draw: st.DrawFn) -> bytes:
    """A zip whose members have the right names and whatever content, or other names."""
    names = st.sampled_from(["model.safetensors", "config.yaml", "README.md", "../x", "a\0b", ""])
    header = st.dictionaries(st.text(max_size=4), JSON, max_size=2).map(json.dumps)
    tensors = st.tuples(st.integers(0, 2**64 - 1) | st.just(None), header, st.binary(max_size=9))

    def weights(parts: tuple[int | None, str, bytes]) -> bytes:
        size = len(parts[1]) if parts[0] is None else parts[0]
        return size.to_bytes(8, "little") + parts[1].encode() + parts[2]

    content = YAML.map(str.encode) | tensors.map(weights) | st.binary(max_size=30)
    members = {"model.safetensors": draw(tensors.map(weights)), "config.yaml": draw(content)}
    members |= draw(st.dictionaries(names, content, max_size=2))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", draw(st.sampled_from([0, 8]))) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name or "x"), data)
    return buffer.getvalue()


@given(st.deferred(lambda: packed_files() | edited(good_packed())))
def fuzz_packed(content: bytes) -> None:
    """A zip gives a configuration and tensors, or is refused."""
    from featnorm_se.enhancement.loading import read_model

    path = folder() / "model.zip"
    path.write_bytes(content)
    model = outcome(path, lambda: read_model(path))
    assert model is None or (isinstance(model[0], dict) and all(map(str, model[1])))


TARGETS = {
    "scp": fuzz_scp,
    "statistics": fuzz_statistics,
    "override": fuzz_override,
    "config": fuzz_config,
    "packed": fuzz_packed,
}
