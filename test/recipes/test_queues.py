"""Jobs through Kaldi's pbs.pl and queue.pl, and ESPnet's launcher, with stand-ins for clusters."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from made_scores import write_scores
from recipe_runs import EGS, places, run_script

from featnorm_se.metrics.worker import Row

RECIPE = EGS / "voicebank_demand" / "enh1"
UPSTREAM = ["--upstream", "tera_tiny", "--upstream_ckpt", "scratch", "--config", "conf/tiny.yaml"]
TAG = "tera_tiny_scratch_utterance_auto_tiny_seed0"  # what run.sh calls it, and tables.sh

# A queue that keeps its command line and runs the job's script at once, each task of an array.
QSUB = """#!/bin/bash
echo "$*" >> "{folder}/submitted"
first=1 last=1 variable=NONE
while [ $# -gt 1 ]; do
    case "$1" in
        -J) variable=PBS_ARRAY_INDEX first="${{2%-*}}" last="${{2#*-}}"; shift ;;
        -t) variable=SGE_TASK_ID first="${{2%:*}}" last="${{2#*:}}"; shift ;;
    esac
    shift
done
echo "{answer}"
for task in $(seq "$first" "$last"); do
    (export "$variable=$task"; cd / && bash "$1" > /dev/null 2>&1 &)
done
"""
ANSWERS = {"pbs": "17[].host.pbsserver", "sge": "Your job-array 17.1-2:1 (x.sh) has been submitted"}


@pytest.fixture
def queue(tmp_path: Path):
    """``queue("pbs")`` puts a qsub and a qstat on a PATH and returns it."""

    def make(backend: str) -> str:
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        (folder / "qsub").write_text(QSUB.format(folder=folder, answer=ANSWERS[backend]))
        (folder / "qstat").write_text("#!/bin/sh\nexit 0\n")
        for script in folder.iterdir():
            script.chmod(0o755)
        return f"{folder}:{os.environ['PATH']}"

    return make


def run(folder: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return run_script(f"{RECIPE}/run.sh", *places(folder), *UPSTREAM, *options, **environment)


@pytest.mark.parametrize(
    ("backend", "words", "array"),
    [
        ("sge", "-v PATH -cwd -S /bin/bash -j y -l arch=*64*", "-t 1:2"),
        ("pbs", "-V -v PATH -S /bin/bash", "-J 1-2"),
    ],
)
def test_stages_2_to_4_are_jobs_of_a_queue(tmp_path, ready, queue, backend, words, array) -> None:
    exp = tmp_path / "exp" / TAG
    # The scripts of Kaldi wait five seconds for each of these that they make themselves.
    for place in (exp, exp / "enhanced_test", next_stats(tmp_path)):
        (place / "q" / "sync").mkdir(parents=True)
    for made in (exp / "config.yaml", next_stats(tmp_path) / "clean.npz"):
        made.write_text("x")
    stages = ["--stage", "2", "--stop_stage", "4", "--skip_gate", "true", "--python", str(ready)]
    done = run(tmp_path, *stages, cmd_backend=backend, PATH=queue(backend))
    assert done.returncode == 0, done.stdout + done.stderr
    submitted = (tmp_path / "bin" / "submitted").read_text().splitlines()
    assert all(words in command for command in submitted)
    # Statistics and enhancing are arrays, training is none.
    assert [array in command for command in submitted] == [True, False, True]
    assert "told: -m featnorm_se.bin.train" in (exp / "train.log").read_text()
    for place, name in ((next_stats(tmp_path), "clean"), (exp / "enhanced_test", "enhance")):
        logs = [place / "log" / f"{name}.{shard}.log" for shard in (1, 2)]
        assert [log.read_text().partition("--shard ")[2][:4] for log in logs] == ["1/2 ", "2/2 "]


def test_a_table_of_what_run_sh_made_runs_what_its_rows_lack(tmp_path: Path, ready: Path) -> None:
    judged = [Row(name, {"STOI": stoi, "SI_SDR": 9}) for name, stoi in (("a", 0.75), ("b", 0.85))]
    scores = write_scores(tmp_path / "exp" / TAG, judged)
    record = {"finished": True, "upstream": "tera_tiny", "norm": "utterance", "seed": 0}
    (scores.parent / "run.json").write_text(json.dumps({**record, "norm_site": "layer.2"}))
    (scores.parent / "config.yaml").write_text("x")
    (tmp_path / "data" / "prepare.json").write_text("{}")
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "one.yaml").write_text(
        "fn: {upstream: tera_tiny, weights: scratch, norm: utterance, norm_site: auto}\n"
    )
    words = [*places(tmp_path)[:4], "--config", "conf/tiny.yaml", "--table", "one"]
    words += ["--rows", str(tmp_path / "tables"), "--output", str(tmp_path / "out")]
    words += ["--python", str(ready), "--", "--skip_gate", "true", "--metrics", "STOI SI_SDR"]
    table = run_script(f"{RECIPE}/tables.sh", *words)
    assert table.returncode == 0 and "./run.sh" not in table.stdout, table.stderr
    # The site that the model has, which a checkpoint of other layers than the card's decides.
    assert "| fn | tera_tiny | scratch | utterance | layer.2 | 1 | 0.8" in table.stdout
    (scores / "summary.json").unlink()
    lacking = run_script(f"{RECIPE}/tables.sh", *words)
    assert lacking.returncode == 0 and " --stage 4 " in lacking.stdout, lacking.stderr
    told = (tmp_path / "exp" / "tables" / "one" / "log" / "row.1.log").read_text()
    assert f"told: -m featnorm_se.bin.score --ref {tmp_path}" in told and "bin.train" not in told
    assert "--metrics STOI SI_SDR" in told
    assert f"row 1 of 1: {TAG}" in (tmp_path / "exp" / "tables" / "one" / "progress").read_text()


def next_stats(folder: Path) -> Path:
    """Return where run.sh keeps the statistics of scratch weights, seed 0, and of this data."""
    said = f"for x in scratch {folder}/data; do printf '%s' $x | cksum | cut -d' ' -f1; done"
    check = subprocess.run(said, shell=True, capture_output=True, text=True, check=True)
    weights, data = check.stdout.split()
    return folder / "dump" / "stats" / f"tera_tiny_{weights}_seed0_auto_{data}"


STAGE = ["--stage", "3", "--stop_stage", "3", "--norm", "none", "--skip_gate", "true"]


def test_several_gpus_go_through_the_launcher_of_espnet(tmp_path: Path, ready: Path) -> None:
    done = run(tmp_path, *STAGE, "--tag", "two", "--ngpu", "2", "--python", str(ready))
    assert done.returncode == 0, done.stderr
    exp = tmp_path / "exp" / "two"
    told = (exp / "train.log").read_text()
    assert "--ngpu 2 --multiprocessing_distributed True" in told
    assert "2gpu on distributed mode" in (exp / "launch.log").read_text()
    one = run(tmp_path, *STAGE, "--tag", "one", "--ngpu", "1", "--python", str(ready))
    assert one.returncode == 0 and not (tmp_path / "exp" / "one" / "launch.log").exists()
    assert "--ngpu 1" in (tmp_path / "exp" / "one" / "train.log").read_text()


def test_a_gpu_collects_the_statistics_in_one_process(tmp_path: Path, ready: Path) -> None:
    options = ["--stage", "2", "--stop_stage", "2", "--nj", "3", "--python", str(ready)]
    for ngpu, shards, device in (("1", 1, "cuda"), ("0", 3, "cpu")):
        dump = ["--dumpdir", str(tmp_path / ngpu)]
        done = run(tmp_path, *options, "--ngpu", ngpu, *dump)
        assert done.returncode == 0, done.stderr
        logs = sorted((tmp_path / ngpu / "stats").glob("*/log/clean.*.log"))
        assert len(logs) == shards
        for number, log in enumerate(logs, start=1):
            told = log.read_text()
            assert f"--device {device} " in told and f"--shard {number}/{shards} " in told


@pytest.mark.parametrize(("backend", "asked"), [("pbs", "-l nodes=2:ppn=1"), ("sge", "-pe mpi 2")])
def test_several_machines_of_other_queues_go_by_mpirun(tmp_path, ready, queue, backend, asked):
    path = queue(backend)
    mpirun = tmp_path / "bin" / "mpirun"
    mpirun.write_text('#!/bin/sh\n[ "$1 $2" = "-np 2" ] && shift 2 && exec "$@"\n')
    mpirun.chmod(0o755)
    (tmp_path / "exp" / "two" / "q" / "sync").mkdir(parents=True)
    more = ["--tag", "two", "--num_nodes", "2", "--python", str(ready)]
    done = run(tmp_path, *STAGE, *more, cmd_backend=backend, PATH=path)
    log = tmp_path / "exp" / "two" / "train.log"
    assert done.returncode == 0, done.stderr
    assert "--dist_launcher mpi --dist_init_method file://" in log.read_text()
    assert asked in (tmp_path / "bin" / "submitted").read_text()
