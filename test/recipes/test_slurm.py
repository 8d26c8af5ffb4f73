"""The stages through a real Slurm on this machine; skipped where it cannot be had."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "egs" / "voicebank_demand" / "enh1"
CORPUS = ROOT.parent / "shared" / "data" / "voicebank_demand"
SLURM = Path(__file__).with_name("slurm_local.sh")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CORPUS.is_dir(), reason="needs ../shared/data"),
]


def slurm(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    told = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    done = subprocess.run(
        [str(SLURM), *command], cwd=RECIPE, env=told, capture_output=True, text=True
    )
    if done.returncode == 77:
        pytest.skip(done.stderr.strip().splitlines()[-1])
    return done


def options(folder: Path) -> list[str]:
    places = [f"--{name}={folder / name[:-3]}" for name in ("expdir", "datadir", "dumpdir")]
    told = [part for place in places for part in place.split("=")]
    told += ["--upstream", "tera_tiny", "--upstream_ckpt", "scratch", "--config", "conf/tiny.yaml"]
    return [*told, "--metrics", "STOI", "--nj", "2", "--inference_nj", "2"]


def test_stages_2_to_4_through_the_queue(tmp_path: Path) -> None:
    first = ["--stop_stage", "1", "--db_root", str(CORPUS), "--valid_speakers", "p287"]
    subprocess.run(["./run.sh", *options(tmp_path), *first], cwd=RECIPE, check=True)
    stages = ["--stage", "2", "--stop_stage", "4"]
    done = slurm("./run.sh", *options(tmp_path), *stages, cmd_backend="slurm")
    assert done.returncode == 0, done.stdout + done.stderr
    exp = next((tmp_path / "exp").glob("tera_tiny_*"))
    summary = json.loads((exp / "scores_test" / "summary.json").read_text())
    assert summary["metrics"]["STOI"]["count"] == 24
    logs = [exp / "train.log", *(exp / "enhanced_test" / "log").glob("*.log")]
    logs += (tmp_path / "dump" / "stats").rglob("clean.*.log")
    assert len(logs) == 5
    assert all("SLURM_JOB_ID=" in log.read_text() for log in logs)


def test_fine_tuning_with_two_processes_under_srun(tmp_path: Path) -> None:
    """Data-parallel training on the processor: srun starts both, ESPnet joins them."""
    first = ["--stop_stage", "1", "--db_root", str(CORPUS), "--valid_speakers", "p287"]
    subprocess.run(["./run.sh", *options(tmp_path), *first], cwd=RECIPE, check=True)
    python = os.environ.get("FEATNORM_SE_PYTHON", sys.executable)
    # ESPnet's own Slurm launcher takes one task a node only, so its ranks come by environment.
    ranks = "RANK=$SLURM_PROCID LOCAL_RANK=$SLURM_LOCALID WORLD_SIZE=$SLURM_NTASKS"
    command = ["srun", "-n2", "bash", "-c", f'{ranks} exec "$@"', "rank"]
    command += [python, "-m", "featnorm_se.bin.train", "--upstream", "tera_tiny"]
    command += ["--upstream_ckpt", "scratch", "--config", "conf/tiny.yaml"]
    command += ["--expdir", str(tmp_path / "exp")]
    for name in ("train", "valid"):
        command += [f"--{name}_dir", str(tmp_path / "data" / name)]
    settings = ("dist_backend=gloo", "multiprocessing_distributed=false", "valid_batch_size=2")
    command += [part for setting in settings for part in ("--set", setting)]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    places = {"MASTER_PORT": str(port), "MASTER_ADDR": "127.0.0.1", "PYTHONPATH": str(ROOT)}
    done = slurm(*command, **places)
    told = done.stdout + done.stderr
    assert done.returncode == 0, told
    assert ":0/2]" in told and "The training was finished at 1 epochs" in told, told
    assert (tmp_path / "exp" / "1epoch.pth").is_file()
    assert json.loads((tmp_path / "exp" / "run.json").read_text())["finished"]
