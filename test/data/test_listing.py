from __future__ import annotations

from pathlib import Path

import pytest

from featnorm_se.data.corpus import read_listing
from featnorm_se.errors import FeatnormError


def test_a_folder_with_sub_folders(tmp_path: Path) -> None:
    for name in ("a.wav", "spk/b.FLAC", "notes.txt", ".hidden/c.wav", ".1.tmp.d.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert read_listing(tmp_path) == {
        "a": str(tmp_path / "a.wav"),
        "spk/b": str(tmp_path / "spk/b.FLAC"),
    }


def test_an_scp_with_paths_from_here_or_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/near.wav").touch()
    (tmp_path / "here.wav").touch()
    (tmp_path / "data/wav.scp").write_text("a here.wav\nb near.wav\nc gone.wav\n")
    monkeypatch.chdir(tmp_path)
    found = read_listing("data/wav.scp")
    assert found == {"a": "here.wav", "b": str(Path("data/near.wav")), "c": "gone.wav"}


def test_missing_empty_and_double(tmp_path: Path) -> None:
    with pytest.raises(FeatnormError, match="no such folder"):
        read_listing(tmp_path / "gone")
    with pytest.raises(FeatnormError, match="holds no audio"):
        read_listing(tmp_path)
    (tmp_path / "a.wav").touch()
    (tmp_path / "a.flac").touch()
    with pytest.raises(FeatnormError, match="the name a comes twice"):
        read_listing(tmp_path)
