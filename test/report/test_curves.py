from __future__ import annotations

import os
from pathlib import Path

from featnorm_se.report.curves import read_curves

LINE = (
    "[host] 2026-11-22 14:35:39,172 (trainer:394) INFO: {epoch}epoch results: [train]"
    " iter_time=0.033, log1p_l1=0.9, loss={train}, optim0_lr0=1.350e-04, time=31 seconds,"
    " total_count=24, [valid] log1p_l1=0.8, loss={valid}, time=5.36 seconds, [att_plot]"
    " time=1.17 seconds, total_count=0\n"
)


def test_losses_by_epoch(tmp_path: Path) -> None:
    noise = "(trainer:811) INFO: 1epoch:train:1-20batch: loss=9.9\n"
    text = LINE.format(epoch=1, train="0.5", valid="0.6") + noise
    text += LINE.format(epoch=2, train="4.0e-01", valid="nan")
    (tmp_path / "train.log").write_text(text)
    curves = read_curves(tmp_path)
    assert curves["train"] == [(1, 0.5), (2, 0.4)]
    assert curves["valid"][0] == (1, 0.6) and curves["valid"][1][1] != curves["valid"][1][1]
    assert list(curves) == ["train", "valid"]


def test_a_resumed_epoch_counts_as_done_last(tmp_path: Path) -> None:
    old, new = tmp_path / "train.1.log", tmp_path / "train.log"
    old.write_text(LINE.format(epoch=1, train="1", valid="1") * 2)
    new.write_text(LINE.format(epoch=1, train="0.7", valid="0.8"))
    os.utime(old, (1, 1))
    assert read_curves(tmp_path) == {"train": [(1, 0.7)], "valid": [(1, 0.8)]}


def test_no_log_is_no_curve(tmp_path: Path) -> None:
    assert read_curves(tmp_path) == {}
    (tmp_path / "train.log").write_bytes(b"\xff\xfe broken")
    assert read_curves(tmp_path) == {}
