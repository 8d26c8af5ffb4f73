"""The gate: what it lets pass, and what it stops."""

from pathlib import Path

import pytest
from gate import main
from made_scores import write_scores

from featnorm_se.bin import run
from featnorm_se.metrics.worker import Row

NAMES = [f"p232_{n:03d}" for n in range(393)] + [f"p257_{n:03d}" for n in range(431)]


def gate(
    folder: Path, pesq: float | None, stoi: float, names: list[str] = NAMES, failed: int = 0
) -> int:
    """Ask the gate about scores of these means, as stage 4 writes them."""
    means = {"PESQ_WB": pesq, "STOI": stoi}
    metrics = [metric for metric, mean in means.items() if mean is not None]
    rows = []
    for i, name in enumerate(names):
        spread = 0.5 if i % 2 else -0.5
        values = {m: means[m] + spread * (1.0 if m == "PESQ_WB" else 0.1) for m in metrics}
        rows.append(Row(name, fault="it is silent") if i < failed else Row(name, values))
    return run(main, ["--scores", str(write_scores(folder, rows))])


@pytest.mark.parametrize(("pesq", "stoi"), [(1.972, 0.921), (1.96, 0.911), (1.98, 0.931)])
def test_the_measured_values_pass(tmp_path, capsys, pesq, stoi) -> None:
    assert gate(tmp_path, pesq, stoi) == 0
    printed = capsys.readouterr().out
    assert "as published" in printed and f"PESQ_WB {pesq:.3f} (published 1.97)" in printed


@pytest.mark.parametrize(
    ("pesq", "stoi", "off"),
    [
        (1.959, 0.921, "PESQ_WB off"),
        (1.981, 0.921, "PESQ_WB off"),
        (None, 0.921, "PESQ_WB off"),
        (1.7, 0.88, "PESQ_WB and STOI off"),
    ],
)
def test_other_values_stop(tmp_path, capsys, pesq, stoi, off) -> None:
    assert gate(tmp_path, pesq, stoi) == 1
    assert f": {off} by more than 0.01" in capsys.readouterr().err


def test_a_part_of_the_corpus_goes_on_and_a_few_without_scores_leave_it_whole(tmp_path) -> None:
    assert gate(tmp_path, 2.5, 0.9, NAMES[:-1]) == 0
    assert gate(tmp_path, 2.5, 0.9, [name.replace("p232", "p226") for name in NAMES]) == 0
    assert gate(tmp_path, 1.972, 0.921, failed=2) == 0
    assert gate(tmp_path, 1.94, 0.921, failed=2) == 1
