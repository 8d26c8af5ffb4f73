"""What compare and score print, and their statuses."""

from pathlib import Path

from golden_numbers import write_pairs
from made_scores import write_scores

from featnorm_se.bin import compare, run, score
from featnorm_se.metrics.worker import Row

# ---- compare


def test_it_prints_the_differences(tmp_path, capsys):
    for name, gain in (("a", 0.0), ("b", 0.25)):
        rows = [Row(f"u{i}", {"PESQ_WB": 1 + 0.1 * i + gain}) for i in range(6)]
        folder = write_scores(tmp_path / name, rows)
    command = [str(tmp_path / "a"), str(tmp_path / "b")]
    assert run(compare.main, command) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    told, _, line = printed.out.splitlines()[:3]
    assert told == "differences in PESQ_WB (MOS-LQO)"
    assert " ".join(line.split()) == "b less a 6 +0.2500 +0.2500 .. +0.2500 6 0 0"
    (folder / "scores.csv").write_text("utt_id,PESQ_WB,reason\nu0,1.2,\nu1,,no speech\n")
    assert run(compare.main, command) == 0
    assert "b less a: 1 of 6 utterances have PESQ_WB in both" in capsys.readouterr().err


# ---- score


def arguments(data: Path, out: Path, *more: str) -> list[str]:
    lists = ["--ref", str(data / "spk1.scp"), "--inf", str(data / "wav.scp")]
    return [*lists, "--output", str(out), "--nj", "1", "--metrics", "SI_SDR", "SSNR", *more]


def test_it_scores_and_prints_and_failures_set_the_status(tmp_path, capsys):
    data, out = tmp_path / "data", tmp_path / "out"
    write_pairs(data, 2, 16000, 0)
    assert run(score.main, arguments(data, out, "--allow_failures", "-1")) == 0  # there are none
    assert run(score.main, arguments(data, out)) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:2] == ["SI_SDR", "dB"]
    assert (out / "summary.json").is_file()
    (data / "data_00.wav.wav").unlink()
    assert run(score.main, arguments(data, out)) == 1
    printed = capsys.readouterr()
    assert "not scored: data_00: no " in printed.out
    assert printed.err.splitlines()[-1].startswith("featnorm_se: error: 1 of 2 utterances")
    assert (out / "scores.csv").is_file()
    assert run(score.main, arguments(data, out, "--allow_failures", "1")) == 0
