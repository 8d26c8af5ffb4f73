"""Files made to harm: nothing in them runs, fills the memory or is written outside its folder."""

from __future__ import annotations

import io
import json
import os
import resource
import stat
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from bad_inputs_world import noise, tree

from featnorm_se.data.audio import audio_info, read_any_audio, read_audio
from featnorm_se.errors import FeatnormError
from featnorm_se.statistics import FeatureStats, SiteStats

ROOM = 1 << 30  # bytes of address space beyond what the process has
GROWTH = 300 << 20  # bytes of memory that may be touched


def status(key: str) -> int:
    """Return a size of /proc/self/status in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return 1024 * int(line.split()[1])
    raise KeyError(key)


@pytest.fixture(autouse=True)
def bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run in an empty folder, with little memory to spare, and see how much was touched."""
    monkeypatch.chdir(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before = status("VmRSS")
    resource.setrlimit(resource.RLIMIT_AS, (status("VmSize") + ROOM, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    assert status("VmHWM") - before < GROWTH
    assert not Path("ran").exists()


def refused(call: Callable[[], Any], *words: str) -> None:
    """Check that a call refuses in one line with these words, and writes nothing."""
    before = tree()
    with pytest.raises(FeatnormError) as caught:
        call()
    told = str(caught.value)
    assert "\n" not in told and [word for word in words if word not in told] == [], told
    assert tree() == before


# ---- statistics ----


def statistics() -> dict[str, bytes]:
    """Return the members of a good statistics file."""
    FeatureStats({"frontend": SiteStats.of(np.eye(4))}, {"kind": "clean"}).save("good.npz")
    with zipfile.ZipFile("good.npz") as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(path: str, members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> str:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def npy(shape: str, descr: str = "<f8", data: bytes = b"") -> bytes:
    """Return a .npy whose header says what it likes."""
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


@pytest.mark.parametrize("shape", ["(10**12,)", f"({10**12},)", "(1000000, 1000000)", "(-1,)"])
def test_a_header_of_numpy_that_promises_much(shape: str) -> None:
    path = zipped("x.npz", {**statistics(), "frontend/mean.npy": npy(shape)})
    refused(lambda: FeatureStats.load(path), "x.npz", "frontend/mean.npy")


def test_a_bomb_by_size_and_one_by_count() -> None:
    good = statistics()
    path = zipped("x.npz", {**good, "frontend/mean.npy": npy("(10,)", data=bytes(100 << 20))})
    refused(lambda: FeatureStats.load(path), "x.npz", "too large")
    many = {f"{k}.npy": bytes(4 << 20) for k in range(20)}
    path = zipped("y.npz", {**good, **many})
    refused(lambda: FeatureStats.load(path), "y.npz", "too large")


def test_objects_in_statistics_do_not_live() -> None:
    payload = b"cos\nsystem\n(S'touch ran'\ntR."
    path = zipped("x.npz", {**statistics(), "meta.npy": npy("()", "|O", payload)})
    refused(lambda: FeatureStats.load(path), "x.npz", "meta.npy")


# ---- packed models ----


def packed(**changes: bytes) -> dict[str, bytes]:
    from safetensors.torch import save

    members = {
        "model.safetensors": save({"separator.x": torch.ones(2)}),
        "config.yaml": b"separator: featnorm\n",
    }
    return members | {name.replace("_", ".", 1): data for name, data in changes.items()}


def load(path: str) -> Any:
    from featnorm_se.inference.enhancer import Enhancer

    return Enhancer.from_pretrained(path)


@pytest.mark.parametrize(
    "name", ["../ran", "/tmp/featnorm_se_ran", "a/../../ran", "C:\\ran", "x\0y"]
)
def test_names_that_lead_out_of_a_packed_model(name: str) -> None:
    entry = zipfile.ZipInfo("x")
    entry.filename = entry.orig_filename = name
    zipped("m.zip", packed())
    with zipfile.ZipFile("m.zip", "a") as archive:
        archive.writestr(entry, b"x")
    refused(lambda: load("m.zip"), "m.zip")
    assert not Path("../ran").exists() and not Path("/tmp/featnorm_se_ran").exists()


def test_a_link_in_a_packed_model_is_no_way_to_another_file() -> None:
    Path("secret").write_text("separator: featnorm\n")
    entry = zipfile.ZipInfo("config.yaml")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile("m.zip", "w") as archive:
        archive.writestr(entry, "secret")
        archive.writestr("model.safetensors", packed()["model.safetensors"])
    refused(lambda: load("m.zip"), "config.yaml in m.zip")


def test_packed_bombs() -> None:
    bomb = bytes(64 << 20)
    many = {f"{k}": b"" for k in range(20_000)}
    for changes, told in (
        ({"model.safetensors": bomb}, "67108864"),
        ({"config.yaml": bomb[: 3 << 20]}, "3145728"),
        (many, "holds"),
    ):
        path = zipped("m.zip", {**packed(), **changes})
        refused(lambda path=path: load(path), "m.zip", told)


@pytest.mark.parametrize(
    "header",
    [
        {"x": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4 * 10**12]}},
        {"x": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4]}},
        {"x": {"dtype": "F32", "shape": [2**62, 4], "data_offsets": [0, 0]}},
        {"x": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}},
    ],
)
def test_safetensors_that_promise_too_much(header: dict[str, Any]) -> None:
    text = json.dumps(header).encode()
    weights = struct.pack("<Q", len(text)) + text + bytes(4)
    path = zipped("m.zip", packed(model_safetensors=weights), zipfile.ZIP_STORED)
    refused(lambda: load(path), "model.safetensors in m.zip")


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system [touch ran]",
        "separator: !!python/name:os.system",
        "separator: &a [*a]",
        "a: &a [1,1,1,1,1,1,1,1,1]\n"
        + "".join(f"b{k}: &b{k} [{','.join([f'*{p}'] * 9)}]\n" for k, p in enumerate(
            ["a", *(f"b{k}" for k in range(12))]
        ))
        + "separator: *b12",
        "x: {<<: [&a {b: 1}, *a]}\n" * 3 + "separator: [" + "[" * 100_000,
    ],
    ids=["apply", "name", "loop", "laughs", "deep"],
)  # fmt: skip
def test_hostile_yaml(text: str) -> None:
    path = zipped("m.zip", packed(config_yaml=text.encode()), zipfile.ZIP_STORED)
    refused(lambda: load(path), "config.yaml")


def network(**separator: Any) -> bytes:
    stft = {"n_fft": 512, "hop_length": 160, "win_length": 400}
    import yaml

    conf = {"upstream": "tera_tiny", "units": 8, "layers": 1, **stft, **separator}
    told = {"separator": "featnorm", "encoder_conf": stft, "decoder_conf": stft}
    return yaml.safe_dump({**told, "separator_conf": conf}).encode()


@pytest.mark.parametrize(
    "separator",
    [
        {"units": 1_000_000},
        {"layers": 2**40},
        {"n_fft": 2**33},
        {"upstream_conf": {"family": "wavlm", "cfg": {"encoder_embed_dim": 10**6}}},
        {"upstream_conf": {"family": "wavlm", "cfg": {"conv_feature_layers": "[(99999,99999,1)]"}}},
        {"upstream_conf": {"family": "hubert", "labels": [10**10]}},
    ],
    ids=["units", "layers", "n_fft", "embed", "conv", "labels"],
)
def test_a_small_file_builds_no_vast_network(separator: dict[str, Any]) -> None:
    path = zipped("m.zip", packed(config_yaml=network(**separator)))
    refused(lambda: load(path), "network of more than")


def test_parts_of_a_model_are_names_of_a_list_never_paths_to_classes() -> None:
    for changes in ({"upstream": "os.system"}, {"upstream_conf": {"family": "subprocess.Popen"}}):
        path = zipped("m.zip", packed(config_yaml=network(**changes)))
        refused(lambda path=path: load(path), "there is no")


# ---- checkpoints ----


class Payload:
    """Pickles as a call of ``os.system``."""

    def __reduce__(self) -> Any:
        return os.system, ("touch ran",)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    "states",
    [
        {"args": Payload(), "model": {}},
        {"cfg": {"task": Payload(), "model": {}}, "model": {}},
        {"task_cfg": {}, "model_cfg": {"activation_fn": Payload()}, "model_weight": {}},
        {"model_weight": {"x": [Payload()]}},
    ],
    ids=["args", "cfg", "activation", "weights"],
)
def test_a_live_payload_in_fairseqs_layouts(states: dict[str, Any], legacy: bool) -> None:
    from featnorm_se.upstream import load_upstream

    torch.save(states, "x.pt", _use_new_zipfile_serialization=not legacy)
    refused(lambda: load_upstream("hubert_tiny", "x.pt"), "x.pt", "execute code")


@pytest.mark.parametrize("place", ["checkpoint", "folder"])
def test_a_packed_checkpoint_is_a_bomb(place: str) -> None:
    from featnorm_se.upstream import load_upstream

    Path("exp").mkdir()
    Path("exp/config.yaml").write_text("separator: featnorm\n")
    torch.save({"x": torch.zeros(16 << 20)}, "plain.pt")
    with zipfile.ZipFile("plain.pt") as plain, zipfile.ZipFile("exp/x.pth", "w", 8) as bomb:
        for name in plain.namelist():
            bomb.writestr(name, plain.read(name))
    Path("plain.pt").unlink()
    if place == "checkpoint":
        refused(lambda: load_upstream("tera_tiny", "exp/x.pth"), "exp/x.pth", "unpack")
    else:
        from featnorm_se.inference.enhancer import Enhancer

        refused(lambda: Enhancer.from_pretrained("exp", model_file="x.pth"), "exp/x.pth", "unpack")


def test_one_number_that_says_it_is_10_to_the_12() -> None:
    from featnorm_se.upstream import load_upstream

    card = {"hidden_size": 48, "num_hidden_layers": 3}
    weights = {"encoder.x": torch.zeros(1).expand(10**12)}
    config = {"transformer": card, "task": {}, "audio": {}}
    torch.save({"Upstream_Config": config, "Transformer": weights}, "x.pt")
    refused(lambda: load_upstream("tera_tiny", "x.pt"), "x.pt", "encoder.x")


# ---- audio ----


def flac_that_promises(samples: int) -> str:
    soundfile.write("x.flac", noise(), 16000)
    data = bytearray(Path("x.flac").read_bytes())
    told = int.from_bytes(data[18:26], "big") >> 36 << 36 | samples
    data[18:26] = told.to_bytes(8, "big")
    Path("x.flac").write_bytes(data)
    return "x.flac"


READERS = [audio_info, read_any_audio, read_audio]


@pytest.mark.parametrize("read", READERS)
def test_a_flac_that_promises_68_thousand_million_samples(read: Callable[[str], Any]) -> None:
    path = flac_that_promises(2**36 - 1)
    refused(lambda: read(path), "x.flac", "promises 68719476735 samples")


def test_a_flac_in_an_archive_that_promises_too_much() -> None:
    data = b"utt " + Path(flac_that_promises(2**36 - 1)).read_bytes()
    Path("a.ark").write_bytes(data)
    refused(lambda: read_audio("a.ark:4"), "a.ark:4")


@pytest.mark.parametrize(
    ("container", "ending", "mark", "size"),
    [
        ("WAV", "wav", b"data", 4),
        ("RF64", "rf64", b"ds64", 8),
        ("W64", "w64", b"data", 8),
        ("CAF", "caf", b"data", 8),
        ("AIFF", "aiff", b"SSND", 4),
        ("AU", "au", b".snd", 4),
    ],
)
@pytest.mark.parametrize("share", [0.01, 0.25, 0.9])
def test_other_headers_that_promise_too_much(container, ending, mark, size, share) -> None:
    """What is there is read, or the file is refused: no memory goes by the promise."""
    path = f"x.{ending}"
    soundfile.write(path, noise(), 16000, format=container, subtype="PCM_16")
    data = bytearray(Path(path).read_bytes())
    start = data.index(mark) + {"w64": 16, "au": 8}.get(ending, 4)
    order = "big" if ending in ("caf", "aiff", "au") else "little"
    length = 3 * size if ending == "rf64" else size
    promise = int(share * 2 ** (8 * size - 1)).to_bytes(size, order)
    data[start + (4 if ending == "rf64" else 0) :][:length] = b""
    at = start + (4 if ending == "rf64" else 0)
    data[at : at + length] = promise * (length // size)
    Path(path).write_bytes(data)
    for read in READERS[:2]:
        try:
            told = read(path)
        except FeatnormError as error:
            assert path in str(error) and "\n" not in str(error)
        else:
            frames = told.frames if read is audio_info else len(told[0])
            assert frames <= 7000


@pytest.mark.parametrize("rate", [2**31 - 1, 16_001, 0])
def test_a_rate_that_would_make_a_vast_filter(rate: int) -> None:
    from featnorm_se.data.corpus import CorpusSet, FilePair
    from featnorm_se.data.prepare import prepare_sets

    soundfile.write("x.wav", noise(), 16000)
    data = bytearray(Path("x.wav").read_bytes())
    data[24:28] = rate.to_bytes(4, "little")
    Path("x.wav").write_bytes(data)
    pair = FilePair("x", Path("x.wav"), Path("x.wav"))
    sets = {"train": CorpusSet([pair], Path("log"), "t")}
    with pytest.raises(FeatnormError, match=r"x\.wav"):
        prepare_sets(sets, Path("data"), Path("wav").absolute(), 16000, 1)


# ---- lists and names ----


def test_the_name_of_an_archive_is_not_run() -> None:
    """kaldiio would take a name that ends in | for a command."""
    with open("touch ran|", "wb") as handle:
        buffer = io.BytesIO()
        soundfile.write(buffer, noise(), 16000, format="WAV")
        handle.write(buffer.getvalue())
    for value in ("touch ran|:0", f"{os.getcwd()}/touch ran|:0", "touch ran|", "| touch ran"):
        refused(lambda value=value: read_audio(value), "touch ran")


def test_a_name_as_long_as_a_disk_can_hold_is_written() -> None:
    from featnorm_se.data.audio import write_audio

    for name in ("日" * 83, "x" * 251):
        write_audio(f"{name}.wav", noise())
        assert len(read_audio(f"{name}.wav")) == len(noise())
    refused(lambda: write_audio(f"{'x' * 252}.wav", noise()), "xxx.wav", "name too long")


def test_a_name_that_is_no_text_is_told() -> None:
    from featnorm_se.bin import one_line
    from featnorm_se.data.sources import find_audio

    os.mkdir(b"a")
    with open(b"a/\xff.wav", "wb"):
        refused(lambda: find_audio("a"), "not UTF-8", "\\udcff")
    assert one_line("a\x1b[2J\nb \udcff é") == "a\\x1b[2J\\nb \\udcff é"


def test_downloads_need_tls_and_what_is_known_of_them() -> None:
    from featnorm_se.bin import run
    from featnorm_se.bin.download import main
    from featnorm_se.upstream import load_upstream
    from featnorm_se.upstream.registry import upstream_card, upstream_names

    for url in ("http://example.org/x.pt", "ftp://example.org/x.pt", "file:///etc/passwd"):
        refused(lambda url=url: load_upstream("tera_tiny", url), url, "https")
        assert run(main, ["--output", "out", "--server", url]) == 1
    for name in upstream_names():
        source = upstream_card(name).get("source")
        assert source is None or source.startswith("https://"), name
    from featnorm_se.data.voicebank_demand import DOWNLOADS, SERVER

    assert SERVER.startswith("https://") and all(len(file.md5) == 32 for file in DOWNLOADS)
