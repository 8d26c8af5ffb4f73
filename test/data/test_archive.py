"""Zip files of a corpus: what is unpacked, and what is refused."""

import os
import zipfile
from pathlib import Path

import pytest

from featnorm_se.data.voicebank_demand import unpack
from featnorm_se.errors import FeatnormError

AUDIO = (".wav", ".flac")


def listed(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def make_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, content in members.items():
            entry = zipfile.ZipInfo("x")
            entry.filename = entry.orig_filename = name
            zipped.writestr(entry, content, zipfile.ZIP_DEFLATED)
    return path


def test_audio_comes_out_flat_and_rubbish_stays_in(tmp_path: Path) -> None:
    content = os.urandom(5000)
    members = {
        "set/p1_001.wav": content,
        "set/p1_002.flac": b"b" * 50,
        "__MACOSX/set/._p1_001.wav": b"x",
        "__MACOSX/set/p1_003.wav": b"x",
        "set/.DS_Store": b"x",
        "set/readme.txt": b"x",
    }
    target = unpack(make_zip(tmp_path / "set.zip", members), tmp_path / "out" / "set", AUDIO)
    assert listed(target) == ["p1_001.wav", "p1_002.flac"]
    assert (target / "p1_001.wav").read_bytes() == content


def test_a_second_call_does_nothing_and_another_zip_is_unpacked_anew(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "set.zip", {"a.wav": b"1" * 100, "b.wav": b"2"})
    target = unpack(path, tmp_path / "set", AUDIO)
    inode = (target / "a.wav").stat().st_ino
    assert (unpack(path, tmp_path / "set", AUDIO) / "a.wav").stat().st_ino == inode
    make_zip(path, {"c.wav": b"3" * 77})
    assert listed(unpack(path, tmp_path / "set", AUDIO)) == ["c.wav"]


@pytest.mark.parametrize(
    "name", ["../p1.wav", "set/../../p1.wav", "/etc/p1.wav", "..\\p1.wav", "C:\\p1.wav"]
)
def test_no_name_leads_out(tmp_path: Path, name: str) -> None:
    path = make_zip(tmp_path / "set.zip", {"good.wav": b"x", name: b"y" * 10})
    target = unpack(path, tmp_path / "deep" / "er" / "set", AUDIO)
    assert {*tmp_path.rglob("*.wav")} == {target / "good.wav", target / "p1.wav"}
    assert target.parent == tmp_path / "deep" / "er" / "set"
    assert (target / "p1.wav").read_bytes() == b"y" * 10
    assert not Path("/etc/p1.wav").exists()


@pytest.mark.parametrize("keep", [0, 0.5, 0.99, 1])
def test_a_cut_or_damaged_zip_leaves_the_old_folder_alone(tmp_path: Path, keep: float) -> None:
    path = make_zip(tmp_path / "set.zip", {"a.wav": os.urandom(5000), "b.wav": b"b"})
    target = unpack(path, tmp_path / "set", AUDIO)
    before = listed(tmp_path / "set")
    content = bytearray(make_zip(path, {"a.wav": os.urandom(6000)}).read_bytes())
    content[3000] ^= 0xFF if keep == 1 else 0
    path.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(FeatnormError, match="no whole zip file"):
        unpack(path, tmp_path / "set", AUDIO)
    assert listed(target) == ["a.wav", "b.wav"] and listed(tmp_path / "set") == before


def test_a_name_that_comes_twice_is_refused(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "set.zip", {"x/a.wav": b"1", "y/a.wav": b"2"})
    with pytest.raises(FeatnormError, match="a.wav comes twice"):
        unpack(path, tmp_path / "set", AUDIO)
