"""egs/mini/enh1/demo.sh without its trainings: order, progress, what it says at the end."""

import demo
from demo import ROWS, main
from made_scores import write_scores

from featnorm_se.bin import run
from featnorm_se.metrics.worker import Row


def test_all_rows_run_and_what_was_learnt_is_said(tmp_path, monkeypatch, capsys):
    called = []

    def fake_call(name, command):
        """Stand in for run.sh: a row has its epochs, and scores at stage 4."""
        first = command[command.index("--stage") + 1] if "--stage" in command else command[1]
        called.append((name, first))
        if first == "3":
            for epoch in range(1, demo.EPOCHS + 1):
                yield f"epoch {epoch}: train loss 0.1, valid loss 0.2, the best so far\n"
        if first == "5":
            yield "the table\n"

    monkeypatch.setattr(demo, "call", fake_call)
    monkeypatch.setattr(demo, "DEMO", tmp_path)
    for name, gain in {"noisy": 0.0, "none": 0.3, "instance": 0.4, "utterance": 0.4}.items():
        rows = [Row(f"p257_{n:03d}", {"PESQ_WB": 1.5 + gain + 0.01 * n}) for n in range(9)]
        write_scores(tmp_path / "exp" / name, rows)
    assert run(main, []) == 0
    assert [stage for name, stage in called if name == "utterance"] == ["2", "3", "4"]
    looks = ["../../TEMPLATE/enh1/local/drift.py"] * 2
    assert [stage for name, stage in called if name == "page"] == [*looks, "5"]  # one page
    assert {name for name, _ in called} == {"data", "page", *ROWS}
    lines = capsys.readouterr().out.splitlines()
    assert lines[-5] == "the table"
    assert "+0.40 [+0.40, +0.40] on noisy; +0.10" in lines[-3]
    assert "+0.00 [+0.00, +0.00] on instance, no sure difference" in lines[-3]
    assert lines[-2].endswith("report/index.html") and "featnorm-se enhance" in lines[-1]
