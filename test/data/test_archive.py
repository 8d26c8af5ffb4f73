"""Zip files of a corpus: what is unpacked, and what is refused."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import zipfile
from pathlib import Path

import pytest

from featnorm_se.data import archive
from featnorm_se.data.archive import check_md5, unpack
from featnorm_se.errors import FeatnormError

AUDIO = (".wav", ".flac")


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
        "set/.DS_Store": b"x",
        "set/readme.txt": b"x",
    }
    target = unpack(make_zip(tmp_path / "set.zip", members), tmp_path / "out" / "set", AUDIO)
    assert sorted(os.listdir(target)) == ["p1_001.wav", "p1_002.flac"]
    assert (target / "p1_001.wav").read_bytes() == content


def test_a_second_call_does_nothing_and_another_zip_is_unpacked_anew(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "set.zip", {"a.wav": b"1" * 100, "b.wav": b"2"})
    target = unpack(path, tmp_path / "set", AUDIO)
    inode = (target / "a.wav").stat().st_ino
    assert (unpack(path, target, AUDIO) / "a.wav").stat().st_ino == inode
    make_zip(path, {"c.wav": b"3" * 77})
    assert os.listdir(unpack(path, target, AUDIO)) == ["c.wav"]


BAD_NAMES = [
    "../p1.wav",
    "set/../../p1.wav",
    "/etc/p1.wav",
    "..\\p1.wav",
    "C:\\p1.wav",
    "a\0/../p.wav",
]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_no_name_leads_out(tmp_path: Path, name: str) -> None:
    path = make_zip(tmp_path / "set.zip", {"good.wav": b"x", name: b"y" * 10})
    with pytest.raises(FeatnormError, match="leads out"):
        unpack(path, tmp_path / "deep" / "er" / "set", AUDIO)
    assert not list(tmp_path.rglob("*.wav"))


def test_a_link_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w") as zipped:
        entry = zipfile.ZipInfo("set/p1.wav")
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
        zipped.writestr(entry, "/etc/passwd")
    with pytest.raises(FeatnormError, match="is a link"):
        unpack(path, tmp_path / "set", AUDIO)


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "set.zip", {"p1.wav": bytes(30_000_000)})
    with pytest.raises(FeatnormError, match="more than 100 times its size"):
        unpack(path, tmp_path / "set", AUDIO)


@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.99])
def test_a_truncated_zip_leaves_nothing(tmp_path: Path, keep: float) -> None:
    path = make_zip(tmp_path / "set.zip", {f"p{i}.wav": os.urandom(2000) for i in range(9)})
    content = path.read_bytes()
    path.write_bytes(content[: int(keep if keep >= 1 else keep * len(content))])
    with pytest.raises(FeatnormError, match="no whole zip file"):
        unpack(path, tmp_path / "set", AUDIO)
    assert not (tmp_path / "set").exists()


def test_damage_inside_is_found_and_the_old_folder_stays(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "set.zip", {"a.wav": os.urandom(5000), "b.wav": b"b"})
    unpack(path, tmp_path / "set", AUDIO)
    content = bytearray(make_zip(path, {"a.wav": os.urandom(6000)}).read_bytes())
    content[3000] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(FeatnormError, match="no whole zip file"):
        unpack(path, tmp_path / "set", AUDIO)
    assert sorted(os.listdir(tmp_path / "set")) == ["a.wav", "b.wav"]


def test_a_name_that_comes_twice_is_refused(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "set.zip", {"x/a.wav": b"1", "y/a.wav": b"2"})
    with pytest.raises(FeatnormError, match="a.wav comes twice"):
        unpack(path, tmp_path / "set", AUDIO)


def test_the_room_on_the_disk_is_looked_at_first(tmp_path: Path, monkeypatch) -> None:
    path = make_zip(tmp_path / "set.zip", {"a.wav": os.urandom(5000)})
    usage = shutil.disk_usage(tmp_path)._replace(free=4999)
    monkeypatch.setattr(archive.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(FeatnormError, match="are free: make room"):
        unpack(path, tmp_path / "set", AUDIO)


@pytest.fixture
def small_disk(tmp_path: Path):
    """A file system of half a megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_disk_that_fills_up_is_told_in_one_line(tmp_path, small_disk, monkeypatch) -> None:
    monkeypatch.setattr(archive, "check_room", lambda *_: None)
    path = make_zip(tmp_path / "set.zip", {f"{i}.wav": os.urandom(200_000) for i in range(5)})
    with pytest.raises(FeatnormError, match="No space left"):
        unpack(path, small_disk / "set", AUDIO)
    assert not (small_disk / "set").exists()


def test_md5_is_checked_and_not_read_twice(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    path.write_bytes(b"abc")
    check_md5(path, "900150983cd24fb0d6963f7d28e17f72")
    with pytest.raises(FeatnormError, match="the official one is 0000"):
        check_md5(path, "0000")
    path.write_bytes(b"abd")
    with pytest.raises(FeatnormError, match="has the MD5 4911e516e5aa21d327512e0c8b197616"):
        check_md5(path, "900150983cd24fb0d6963f7d28e17f72")
