from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from featnorm_se.errors import FeatnormError
from featnorm_se.report.comparing import compare_folders, comparison_table


def test_against_the_first(expdir: Path) -> None:
    told = compare_folders(
        expdir / "noisy", [expdir / "tera_none", expdir / "tera_utterance"], "PESQ_WB"
    )
    assert list(told) == ["tera_none\nless noisy", "tera_utterance\nless noisy"]
    heading, first, second = comparison_table(told, "PESQ_WB")
    assert first[:2] == ["tera_none less noisy", "12"] and first[4:] == ["12", "0", "0"]
    assert float(first[2]) == pytest.approx(0.3, abs=0.03)
    low, high = map(float, second[3].split(" .. "))
    assert low < float(second[2]) < high and len(heading) == 7


def test_what_cannot_be_compared_is_told(expdir: Path, tmp_path: Path) -> None:
    pair = (expdir / "noisy", [expdir / "tera_none"])
    with pytest.raises(FeatnormError, match="no metric is named 'MOS'"):
        compare_folders(*pair, "MOS")
    with pytest.raises(FeatnormError, match="no utterance has COVL in both"):
        compare_folders(*pair, "COVL")
    with pytest.raises(FeatnormError, match="has no scores .*run stage 4"):
        compare_folders(expdir / "noisy", [expdir / "gone"], "PESQ_WB")
    for name in ("noisy", "tera_none"):
        shutil.copytree(expdir / name / "scores_test", expdir / name / "scores_other")
    with pytest.raises(FeatnormError, match="name one --testset of other, test"):
        compare_folders(*pair, "PESQ_WB")
    assert compare_folders(*pair, "PESQ_WB", "other")
    shutil.rmtree(expdir / "noisy/scores_test")
    shutil.rmtree(expdir / "tera_none/scores_other")
    with pytest.raises(FeatnormError, match="no test set in common"):
        compare_folders(*pair, "PESQ_WB")
