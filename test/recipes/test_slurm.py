"""Jobs through a real Slurm on this machine; skipped where it cannot be had."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from golden_numbers import write_pairs
from recipe_runs import EGS, places

RECIPE = EGS / "voicebank_demand" / "enh1"
SLURM = Path(__file__).with_name("slurm_local.sh")
TRAINING = ["--upstream", "tera_tiny", "--upstream_ckpt", "scratch", "--config", "conf/tiny.yaml"]

pytestmark = pytest.mark.slow


def slurm(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    told = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    done = subprocess.run(
        [str(SLURM), *command], cwd=RECIPE, env=told, capture_output=True, text=True
    )
    if done.returncode == 77:
        pytest.skip(done.stderr.strip().splitlines()[-1])
    return done


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data directories, for both tests."""
    slurm("true")  # where it cannot be had, that is known here
    folder = tmp_path_factory.mktemp("corpus")
    for part, count in (("train", 8), ("valid", 4)):
        write_pairs(folder / part, count, 24000, 0)
    return folder


def options(folder: Path, data: Path) -> list[str]:
    return [*places(folder), "--datadir", str(data), *TRAINING, "--nj", "2"]


def test_statistics_are_an_array_of_the_queue(tmp_path: Path, data: Path) -> None:
    stage = ["--stage", "2", "--stop_stage", "2"]
    done = slurm("./run.sh", *options(tmp_path, data), *stage, cmd_backend="slurm")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "clean.npz: statistics at projection" in done.stdout + done.stderr
    logs = [log.read_text() for log in (tmp_path / "dump" / "stats").rglob("clean.*.log")]
    assert len(logs) == 2 and all("SLURM_ARRAY_TASK_ID=" in log for log in logs)


def test_two_nodes_through_the_launcher_of_espnet(tmp_path: Path, data: Path) -> None:
    """espnet2.bin.launch asks slurm.pl for two machines; srun starts a process on each."""
    stage = ["--stage", "3", "--stop_stage", "3", "--skip_gate", "true", "--norm", "none"]
    more = ["--num_nodes", "2", "--set", "valid_batch_size=2", "--tag", "two"]
    nodes = {"cmd_backend": "slurm", "SLURM_LOCAL_NODES": "2"}
    done = slurm("./run.sh", *options(tmp_path, data), *stage, *more, **nodes)
    exp = tmp_path / "exp" / "two"
    log = (exp / "train.log").read_text()
    assert done.returncode == 0, done.stdout + done.stderr + log
    assert "SLURM_JOB_NUM_NODES=2" in log and "SLURM_NNODES=2" in log
    assert ":0/2]" in log and "The training was finished at 1 epochs" in log
    assert json.loads((exp / "run.json").read_text())["finished"]
    assert not list(exp.glob(".dist_init_*"))
    assert "2nodes and 0gpu-per-node using srun" in (exp / "launch.log").read_text()
    # One of them fails: the run ends, and says why.
    other = slurm("./run.sh", *options(tmp_path, data), *stage, *more, "--seed", "1", **nodes)
    assert other.returncode == 1
    assert "of a run with seed 0" in other.stderr.splitlines()[-1], other.stderr
