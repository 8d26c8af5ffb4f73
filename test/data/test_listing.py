from __future__ import annotations

import re
import textwrap
from pathlib import Path

import numpy as np
import pytest
import soundfile

from featnorm_se.config import read_config
from featnorm_se.data.corpus import CorpusSet, find_pairs, match_names, read_listing, read_log
from featnorm_se.data.datadir import validate_data_dir
from featnorm_se.data.prepare import prepare_sets
from featnorm_se.data.scp import read_scp
from featnorm_se.errors import FeatnormError
from featnorm_se.files import read_json
from featnorm_se.report.experiments import read_scores


def test_a_folder_with_sub_folders(tmp_path: Path) -> None:
    for name in ("a.wav", "spk/b.FLAC", "notes.txt", ".hidden/c.wav", ".1.tmp.d.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert read_listing(tmp_path) == {
        "a": str(tmp_path / "a.wav"),
        "spk/b": str(tmp_path / "spk/b.FLAC"),
    }


def test_what_is_passed_over_is_counted_in_one_line(tmp_path: Path, capsys) -> None:
    for name in ("a.wav", "b.txt", "spk/c.txt", "spk/README", ".hidden/d.txt", "spk/.e.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "spk" / "loop").symlink_to(tmp_path)
    assert list(read_listing(tmp_path)) == ["a"]
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].endswith("do not end like audio: 2 .txt, 1 README")


@pytest.mark.parametrize(
    ("names", "twins", "found", "rule"),
    [
        (["a", "b_x"], ["a", "b"], {"a": "a", "b_x": "b_x"}, ""),
        (["a_x", "b_x", "c"], ["a", "b", "c_"], {"a_x": "a", "b_x": "b", "c": "c"}, "_x"),
        (["n_fileid_1", "m_fileid_12"], ["clean_fileid_12", "clean_fileid_1"],
         {"n_fileid_1": "clean_fileid_1", "m_fileid_12": "clean_fileid_12"}, "fileid"),
        # Not one for one: nothing is guessed.
        (["n_fileid_1", "m_fileid_1"], ["clean_fileid_1"],
         {"n_fileid_1": "n_fileid_1", "m_fileid_1": "m_fileid_1"}, ""),
    ],
)  # fmt: skip
def test_names_find_their_twins(names, twins, found, rule) -> None:
    assert match_names(names, twins) == (found, rule)


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


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path: Path, newline: str) -> None:
    """Windows' editors write one: in silence it made the first utterance another one."""

    def written(text: str) -> Path:
        path = tmp_path / "file"
        path.write_bytes(text.replace("\n", newline).encode("utf-8-sig"))
        return path

    assert read_log(written("u1 café 0\nu2 bus 5\n")) == {"u1": ("café", 0.0), "u2": ("bus", 5.0)}
    assert read_scp(written("u1 a.wav\nu2 b.wav\n")) == {"u1": "a.wav", "u2": "b.wav"}
    assert read_json(written('{"a": 1}\n')) == read_config(written("a: 1\n")) == {"a": 1}
    assert read_scores(written("utt_id,STOI,reason\nu1,0.5,\n")) == {"u1": {"STOI": 0.5}}


def test_a_log_in_another_encoding_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    for encoding in ("utf-16", "latin-1"):
        path.write_text("ü1 bus 0\n", encoding=encoding)
        with pytest.raises(FeatnormError, match="log.txt is not UTF-8 text"):
            read_log(path)


def test_the_function_of_the_document_works(tmp_path: Path) -> None:
    """doc/new_corpus.md holds what it promises: its function prepares."""
    page = (Path(__file__).parents[2] / "doc" / "new_corpus.md").read_text()
    block = re.search(r"^( +)def find_mycorpus.*?(?=^\S|^ {0,3}`)", page, re.M | re.S)
    given = {"Path": Path, "CorpusSet": CorpusSet, "find_pairs": find_pairs}
    exec(textwrap.dedent(block[0]), given)
    rng = np.random.default_rng(0)
    for name, speaker in (("train", "a"), ("valid", "b"), ("test", "c")):
        for kind in ("noisy", "clean"):
            folder = tmp_path / "corpus" / name / kind
            folder.mkdir(parents=True)
            soundfile.write(folder / f"{speaker}_1.wav", 0.1 * rng.standard_normal(4800), 48000)
    (tmp_path / "corpus" / "test" / "conditions.txt").write_text("c_1 car 5\n")
    sets = given["find_mycorpus"](tmp_path / "corpus")
    record = prepare_sets(sets, tmp_path / "data", tmp_path / "wav")
    assert [record["counts"][name]["pairs"] for name in ("train", "valid", "test")] == [1, 1, 1]
    listed = validate_data_dir(tmp_path / "data" / "test")
    assert listed["utt2spk"] == {"c_1": "c"}
    assert (tmp_path / "data" / "test" / "utt2cond").read_text() == "c_1\tcar\t5\n"
