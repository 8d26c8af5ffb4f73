"""egs/mini/enh1 for real: all stages on a part of its corpus, what run.sh refuses, how it ends."""

import csv
import hashlib
import json
import os
import signal
import subprocess
import zipfile
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
import soundfile
from recipe_runs import EGS, places, run_script, telling_python

from featnorm_se.data.scp import read_scp
from featnorm_se.report.experiments import read_curves
from featnorm_se.statistics import FeatureStats
from featnorm_se.training.record import LENGTH

RECIPE = EGS / "mini" / "enh1"
TAG = "tera_tiny_scratch_utterance_auto_train_seed0_num_iters_per_epoch=4"


def corpus_hash(entries: dict[str, str]) -> str:
    """What the statistics' meta data say of the corpus, computed from the files."""
    total = 0
    for key, path in entries.items():
        wav = soundfile.read(path, dtype="float32")[0]
        total += int(hashlib.sha256(key.encode() + wav.tobytes()).hexdigest(), 16)
    return f"{total % 2**256:064x}"


def run(*options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return run_script("mini/enh1/run.sh", *options, **environment)


def unpack_some(folder: Path) -> list[str]:
    """Take a part of the recipe's own corpus; return the options that name it."""
    wanted = "speech/train/2*.ogg speech/valid/8*.ogg test/*/p257_0[27]*.flac test/*.txt"
    with zipfile.ZipFile(RECIPE.parent / "corpus" / "corpus.zip") as zipped:
        for name in zipped.namelist():
            if any(fnmatchcase(name, pattern) for pattern in wanted.split()):
                zipped.extract(name, folder)
    return ["--speech_root", str(folder / "speech"), "--test_root", str(folder / "test")]


def test_all_stages(tmp_path):
    options = places(tmp_path)
    options[3] += " of 'mine'"  # the folder of data directories: a path may hold what shells read
    options += ["--upstream", "tera_tiny", "--copies", "1", "--nj", "1", "--inference_nj", "1"]
    options += ["--set", "max_epoch=1 num_iters_per_epoch=4", "--metrics", "PESQ_WB STOI"]
    options += [*unpack_some(tmp_path), "--norm_site", " auto"]
    first = run(*options)
    assert first.returncode == 0, first.stdout + first.stderr
    assert first.stdout.count("95 % interval") == 1  # one full table of scores
    (stats,) = (tmp_path / "dump" / "stats").glob("*/clean.npz")
    meta = FeatureStats.load(stats).meta
    # Clean training speech and nothing else: not valid, not test, not the noisy twins.
    assert meta["corpus"] == corpus_hash(
        read_scp(tmp_path / "data of 'mine'" / "train" / "spk1.scp")
    )
    assert (meta["kind"], meta["utterances"]) == ("clean", 10)
    exp = tmp_path / "exp" / TAG
    record = json.loads((exp / "run.json").read_text())
    assert record["norm_site"] == "projection"
    assert record["finished"]
    for folder in (tmp_path / "exp" / "noisy", exp):
        with open(folder / "scores_test" / "scores.csv", newline="") as handle:
            rows = list(csv.DictReader(handle))
        assert len(rows) == 4
        assert all(1 <= float(row["PESQ_WB"]) <= 4.65 for row in rows)
    results = (tmp_path / "RESULTS.md").read_text()
    assert "noisy" in results
    assert "--upstream tera_tiny" in results

    assert "statistics at projection (the site auto is projection here)" in first.stderr
    assert "epoch 1: train loss 0." in first.stdout and ", the best so far by valid" in first.stdout

    kept = [exp / name for name in ("valid_shape", "run.json", "config.yaml", "train.log")]
    times = [path.stat().st_mtime_ns for path in kept]
    other = run(*options, "--stage", "3", "--stop_stage", "3", "--tag", TAG, "--norm", "none")
    assert [path.stat().st_mtime_ns for path in kept] == times
    assert other.returncode == 1 and f"({exp}/refused.log)" in other.stderr
    assert "norm utterance, this run has none" in other.stderr
    # An epoch more: the log of the first is kept, and the report reads both.
    options[options.index("--set") + 1] = "max_epoch=2 num_iters_per_epoch=4"
    longer = run(*options, "--stage", "3", "--stop_stage", "3")
    assert longer.returncode == 0, longer.stdout + longer.stderr
    assert [epoch for epoch, _ in read_curves(exp)["valid"]] == [1, 2]

    # Training goes on from a model without statistics, checkpoint or a word of what it is.
    more = ["--init", str(exp), "--set", "optim_conf.betas=[0.5, 0.9]  max_epoch=1"]
    more += ["--python", str(telling_python(tmp_path / "python"))]
    init = run(*options[:6], *more, "--stage", "2", "--stop_stage", "3")
    assert init.returncode == 0, init.stdout + init.stderr
    assert f"stage 2: no statistics are needed, {exp} has them" in init.stdout
    name = f"init_{TAG}_finetune_seed0_optim_conf.betas=0.5,0.9"
    told = (exp.parent / name / "train.log").read_text()
    assert f" --init {exp} " in told and "clean_stats" not in told
    assert "--set optim_conf.betas=[0.5, 0.9] --set max_epoch=1 " in told


def test_what_may_change_when_a_run_goes_on_is_in_no_name():
    """The script and the record of a run have a list each; all else that is set is in it."""
    script = (RECIPE / "featnorm.sh").read_text()
    assert f"=~ ^({'|'.join(LENGTH)})$ ]]" in script


def test_values_are_never_run(tmp_path):
    marker = tmp_path / "ran"
    done = run("--upstream", f"$(touch {marker})", "--tag", f"`touch {marker}`")
    assert done.returncode != 0
    assert not marker.exists()


# ---- SIGTERM or Ctrl-C: it waits for what it runs, says so, starts nothing more

# Stands in for Python: the first command of stage 1 takes a while, and each leaves its name.
PYTHON = """#!/usr/bin/env bash
echo "$1 $2" >> "{log}"
case "$1" in
    */make_mini.py)
        (trap '' INT TERM; echo ready; exec > /dev/null 2>&1; sleep 1; echo "saved" >> "{log}") &
        sleep {seconds}
        ;;
esac
"""


@pytest.mark.parametrize(
    ("number", "to_all"), [(signal.SIGTERM, True), (signal.SIGTERM, False), (signal.SIGINT, True)]
)
def test_a_signal_ends_the_recipe(tmp_path, number, to_all):
    log = tmp_path / "log"
    fake = tmp_path / "python"
    fake.write_text(PYTHON.format(log=log, seconds=60 if to_all else 2))
    fake.chmod(0o755)
    process = subprocess.Popen(
        ["./run.sh", "--python", str(fake), *places(tmp_path)],
        cwd=RECIPE,
        env={**os.environ, "FEATNORM_SE_PYTHON": str(fake)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # Tests that run in the background ignore SIGINT, and so would all that they start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout
    assert any(line == "ready\n" for line in process.stdout)
    (os.killpg if to_all else os.kill)(process.pid, number)
    assert process.wait(30) == 128 + number
    first, *rest = log.read_text().splitlines()  # the checks of the options are before
    assert "featnorm_se.bin.info" in first
    assert rest[0].startswith("local/make_mini.py") and rest[1:] == ["saved"]  # and no .prepare
    how = "interrupted" if number == signal.SIGINT else "ended by SIGTERM"
    lines = [line for line in process.communicate()[1].splitlines() if "error:" in line]
    assert lines == [f"./run.sh: error: {how}: the same command again goes on"]
