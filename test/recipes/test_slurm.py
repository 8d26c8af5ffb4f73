"""Jobs through a real Slurm on this machine; skipped where it cannot be had."""

import json
import os
import shlex
import subprocess
from pathlib import Path

import pytest
from golden_numbers import write_pairs
from recipe_runs import EGS, places

RECIPE = EGS / "voicebank_demand" / "enh1"
SLURM = Path(__file__).with_name("slurm_local.sh")


@pytest.mark.slow
def test_an_array_and_two_nodes_through_the_launcher_of_espnet(tmp_path: Path) -> None:
    """espnet2.bin.launch asks slurm.pl for two machines; srun starts a process on each."""
    for part, count in (("train", 8), ("valid", 4)):
        write_pairs(tmp_path / "data" / part, count, 12000, 0)
    options = [*places(tmp_path), "--upstream", "tera_tiny", "--upstream_ckpt", "scratch"]
    run = ["./run.sh", *options, "--config", "conf/tiny.yaml", "--nj", "2", "--skip_gate", "true"]
    array = shlex.join([*run, "--stage", "2", "--stop_stage", "2"])
    more = ["--norm", "none", "--num_nodes", "2", "--set", "valid_batch_size=2", "--tag", "two"]
    nodes = shlex.join([*run, "--stage", "3", "--stop_stage", "3", *more])
    # Of two processes that are refused one fails first: the run ends, and says why.
    script = f"set -e; {array}; {nodes}; ! {nodes} --seed 1"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "cmd_backend": "slurm"}
    done = subprocess.run(
        [str(SLURM), "bash", "-c", script],
        cwd=RECIPE,
        env={**environment, "SLURM_LOCAL_NODES": "2"},
        capture_output=True,
        text=True,
    )
    if done.returncode == 77:
        pytest.skip(done.stderr.strip().splitlines()[-1])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "clean.npz: statistics at projection" in done.stdout + done.stderr
    logs = [log.read_text() for log in (tmp_path / "dump" / "stats").rglob("clean.*.log")]
    assert len(logs) == 2 and all("SLURM_ARRAY_TASK_ID=" in log for log in logs)
    exp = tmp_path / "exp" / "two"
    log = (exp / "train.log").read_text()
    assert "SLURM_JOB_NUM_NODES=2" in log and "SLURM_NNODES=2" in log
    assert ":0/2]" in log and "The training was finished at 1 epochs" in log
    assert json.loads((exp / "run.json").read_text())["finished"]
    assert not list(exp.glob(".dist_init_*"))
    assert "2nodes and 0gpu-per-node using srun" in (exp / "launch.log").read_text()
    assert "of a run with seed 0" in done.stderr.splitlines()[-1], done.stderr
