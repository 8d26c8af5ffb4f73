"""doc/new_corpus.md holds what it promises: its prepare function prepares."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import numpy as np
import soundfile

from featnorm_se.data.corpus import CorpusSet, find_pairs
from featnorm_se.data.datadir import validate_data_dir
from featnorm_se.data.prepare import prepare_sets

DOC = Path(__file__).parents[2] / "doc" / "new_corpus.md"


def test_the_function_of_the_document_works(tmp_path: Path) -> None:
    block = re.search(r"^( +)def find_mycorpus.*?(?=^\S|^ {0,3}`)", DOC.read_text(), re.M | re.S)
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
