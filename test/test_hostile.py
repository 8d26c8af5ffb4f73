"""Files made to harm: nothing in them runs, and nothing is written outside its folder."""

import io
import os
import stat
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
import yaml
from bad_inputs_world import Payload, noise, tree
from safetensors.torch import save

from featnorm_se import Enhancer
from featnorm_se.data.audio import audio_info, read_audio
from featnorm_se.errors import FeatnormError
from featnorm_se.fetch import split_hub_address
from featnorm_se.upstream import load_upstream, upstream_card, upstream_names


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run in an empty folder, where a payload would leave the file ``ran``."""
    monkeypatch.chdir(tmp_path)
    yield
    assert not Path("ran").exists()


def refused(call: Callable[[], Any], *words: str) -> None:
    """Check that a call refuses in one line with these words, and writes nothing."""
    before = tree()
    with pytest.raises(FeatnormError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message and all(word in message for word in words), message
    assert tree() == before


# ---- packed models and experiments ----


def zipped(path: str, members: dict[str, bytes]) -> str:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def packed(**changes: bytes) -> dict[str, bytes]:
    members = {
        "model.safetensors": save({"separator.x": torch.ones(2)}),
        "config.yaml": b"separator: featnorm\n",
    }
    return members | {name.replace("_", ".", 1): data for name, data in changes.items()}


def load(path: str, model_file: str | None = None) -> Any:
    return Enhancer.from_pretrained(path, model_file=model_file)


def test_a_packed_model_is_read_and_not_unpacked() -> None:
    """Neither a link in it nor a name that leads out is a way to another file."""
    Path("secret").write_text("separator: featnorm\n")
    zipped("m.zip", packed(config_yaml=b"secret") | {"a/../../ran": b"x"})
    with zipfile.ZipFile("m.zip", "a") as archive:
        archive.getinfo("config.yaml").external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr("last", "")  # so that the list of names is written anew
    refused(lambda: load("m.zip"), "separator is None")
    assert not Path("../ran").exists()


def test_the_yaml_of_a_packed_model_makes_no_objects() -> None:
    path = zipped("m.zip", packed(config_yaml=b"!!python/object/apply:os.system [touch ran]"))
    refused(lambda: load(path), "config.yaml", "YAML")


def test_parts_of_a_model_are_names_of_a_list_never_paths_to_classes() -> None:
    stft = {"n_fft": 512, "hop_length": 160, "win_length": 400}
    for changes in ({"upstream": "os.system"}, {"upstream_conf": {"family": "subprocess.Popen"}}):
        conf = {"upstream": "tera_tiny", "units": 8, "layers": 1, **stft, **changes}
        config = {"separator": "featnorm", "encoder_conf": stft, "decoder_conf": stft}
        text = yaml.safe_dump({**config, "separator_conf": conf}).encode()
        path = zipped("m.zip", packed(config_yaml=text))
        refused(lambda path=path: load(path), "there is no")


def test_a_live_payload_in_an_experiments_weights() -> None:
    Path("exp").mkdir()
    Path("exp/config.yaml").write_text("separator: featnorm\n")
    torch.save({"x": Payload(Path("ran"))}, "exp/x.pth")
    refused(lambda: load("exp", "x.pth"), "exp/x.pth")


# ---- lists, names and addresses ----


def test_the_name_of_an_archive_is_not_run() -> None:
    """Kaldi's own readers would take a name that ends in | for a command."""
    with open("touch ran|", "wb") as handle:
        buffer = io.BytesIO()
        soundfile.write(buffer, noise(), 16000, format="WAV")
        handle.write(buffer.getvalue())
    for value in ("touch ran|:0", f"{os.getcwd()}/touch ran|:0"):
        assert len(read_audio(value)) == len(noise())
    for value in ("touch ran |", "touch ran|", "| touch ran"):
        for read in (read_audio, audio_info):
            refused(lambda value=value, read=read: read(value), "touch ran", "is not run")


def test_nothing_is_fetched_but_from_the_hub() -> None:
    for url in ("http://example.org/x.pt", "https://example.org/x.pt", "file:///etc/passwd"):
        refused(lambda url=url: load_upstream("tera_tiny", url), f"wget -O FILE '{url}'")
    for name in upstream_names():
        source = upstream_card(name)["source"] or "https://www.dropbox.com/"
        known = split_hub_address(source) or source.startswith("https://www.dropbox.com/")
        assert known or Path(source).parent.name == "conf", name
