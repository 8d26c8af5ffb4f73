"""egs/voicebank_demand/enh1: its settings, its rows, and its stages on a part of the corpus."""

import fcntl
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from recipe_runs import EGS, places, run_script
from rows import Setting, read_rows

from featnorm_se.config import override_config
from featnorm_se.data.audio import write_audio
from featnorm_se.files import locked
from featnorm_se.model.separator import FeatNormSeparator
from featnorm_se.training.experiment import read_training_config
from featnorm_se.training.task import FeatNormTask, build_parts, parse_options
from featnorm_se.upstream import load_upstream

RECIPE = EGS / "voicebank_demand" / "enh1"
CONFIGS = ("train", "train_large", "tiny")
TABLES = ("upstreams", "sites", "norms", "drift")


def test_every_row_of_every_table_is_a_model() -> None:
    setting = Setting(suffix="_tiny", conf_dir=str(RECIPE / "conf" / "upstream"))
    built = set()
    for table in TABLES:
        for row in read_rows(RECIPE / "conf" / "tables" / f"{table}.yaml", setting):
            if row.is_noisy or row.tag(0) in built:
                continue
            site = row.norm_site or "auto"
            model = FeatNormSeparator(
                201, row.upstream, None, row.norm, site, n_fft=400, layers=1, units=4
            ).eval()
            spectrum = torch.randn(1, 40, 201, dtype=torch.complex64)
            enhanced, _, masks = model(spectrum, torch.tensor([40]))
            assert enhanced[0].shape == spectrum.shape, row
            assert torch.isfinite(masks["mask_spk1"]).all(), row
            built.add(row.tag(0))
    # upstreams; sites besides auto, where a tiny model's middle is another's; norms
    assert len(built) == 21 + 10 + 3


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_every_training_configuration_builds_and_takes_a_step(name: str, tmp_path: Path) -> None:
    config = read_training_config(RECIPE / "conf" / f"{name}.yaml")
    config = override_config(config, ["separator_conf.units=4", "separator_conf.layers=1"])
    config["separator_conf"] |= {**config["encoder_conf"], "upstream": "tera_tiny", "norm": "none"}
    config |= {"separator": "featnorm", "output_dir": str(tmp_path)}
    args = parse_options(config, name)
    model = build_parts(args, name, load_upstream("tera_tiny", "scratch"), None)
    (optimizer,) = FeatNormTask.build_optimizers(args, model)
    before = {key: value.clone() for key, value in model.named_parameters()}
    speech = torch.randn(2, 8000)
    loss, _, _ = model(speech, torch.tensor([8000, 8000]), speech_ref1=0.5 * speech)
    loss.backward()
    optimizer.step()
    moved = [key for key, value in model.named_parameters() if not value.equal(before[key])]
    assert any("upstream" in key for key in moved) and any("head" in key for key in moved)


def snapshot(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.fixture
def laid_out(tmp_path: Path, ready: Path) -> tuple[list[str], Path]:
    """A trained experiment beside the data directories: options for it, and its folder."""
    exp = tmp_path / "exp" / "mine"
    exp.mkdir(parents=True)
    (exp / "config.yaml").write_text("x")
    options = [*places(tmp_path), "--skip_gate", "true", "--upstream", "tera_tiny"]
    return [*options, "--norm", "none", "--tag", "mine", "--python", str(ready)], exp


def only(stage: int) -> list[str]:
    return ["--stage", str(stage), "--stop_stage", str(stage)]


def test_a_second_run_in_one_folder_touches_nothing(tmp_path: Path, laid_out) -> None:
    options, exp = laid_out
    (exp / "train.log").write_text("the first run's\n")
    with locked(exp):
        before = snapshot(tmp_path / "exp")
        second = run_script(f"{RECIPE}/run.sh", *options, *only(3))
        assert snapshot(tmp_path / "exp") == before
    assert second.returncode == 1
    (line,) = [line for line in second.stderr.splitlines() if "error:" in line]
    assert f"another run is at work in {exp}: wait for it" in line
    # Nor while the first one's training is only starting.
    with open(tmp_path / "exp" / "..stage3.mine", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = snapshot(tmp_path / "exp")
        second = run_script(f"{RECIPE}/run.sh", *options, *only(3))
        assert snapshot(tmp_path / "exp") == before
    assert second.returncode == 1 and "another run is at work" in second.stderr
    # Stage 4 has a lock of its own. Where a file system has none, nobody is refused.
    (tmp_path / "bin").mkdir()
    flock = tmp_path / "bin" / "flock"
    options += only(4)
    flock.write_text("#!/bin/sh\nexit 71\n")
    flock.chmod(0o755)
    with open(tmp_path / "exp" / "..stage4.mine", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        second = run_script(f"{RECIPE}/run.sh", *options)
        path = f"{flock.parent}:{os.environ['PATH']}"
        without = run_script(f"{RECIPE}/run.sh", *options, PATH=path)
    assert second.returncode == 1 and f"another run is at work in {exp}" in second.stderr
    assert without.returncode == 0, without.stderr


@pytest.mark.parametrize("at", ["enhance_set", "score"])
def test_scores_of_a_test_set_that_changed_meanwhile_do_not_count(tmp_path, laid_out, ready, at):
    """Another run's stage 1 wrote the lists anew; scoring may end at other names, too."""
    options, exp = laid_out
    lists = tmp_path / "data" / "test" / "wav.scp"
    change = f"in {at}) echo b >> {lists}; [ {at} != score ] ;; train"
    ready.write_text(ready.read_text().replace("in train", change))
    both = [folder / "scores_test" / "summary.json" for folder in (exp, exp.parent / "noisy")]
    for summary in both:
        summary.parent.mkdir(parents=True)
        summary.write_text("{}")
    done = run_script(f"{RECIPE}/run.sh", *options, *only(4))
    assert done.returncode == 1 and "data/test was made anew meanwhile" in done.stderr, done.stderr
    assert not any(summary.exists() for summary in both)


def test_a_test_set_more_has_places_of_its_own_and_what_stage_1_took_is_not_passed_over(
    tmp_path: Path, laid_out
) -> None:
    options, exp = laid_out
    made = f"db_root {tmp_path}/corpus\ntest_root \nvalid_speakers a b \nskip_bad false\n"
    (tmp_path / "data" / ".options").write_text(made)
    for kind in ("noisy", "clean"):
        write_audio(tmp_path / "pairs" / kind / "x_1.wav", np.sin(np.arange(8000)))
    mine = [*options, "--test_set", "mine", "--db_root", str(tmp_path / "x/../corpus")]
    root = ["--test_root", str(tmp_path / "pairs")]
    early = run_script(f"{RECIPE}/run.sh", *mine, "--stage", "2", "--stop_stage", "4")
    assert "data/mine/wav.scp: run stage 1 first" in early.stderr and "stage 2" not in early.stdout
    first = run_script(f"{RECIPE}/run.sh", *mine, *root, *only(1))
    assert first.returncode == 0 and "mine: 1 pairs" in first.stdout, first.stderr
    scored = run_script(f"{RECIPE}/run.sh", *mine, *root, "--valid_speakers", "a b ", *only(4))
    assert scored.returncode == 0, scored.stderr
    told = "\n".join(line for line in scored.stdout.splitlines() if line.startswith("told:"))
    assert f"--output {exp}/scores_mine" in told and not re.search("[a-z]_test\\b|/test/", told)
    assert told.count(f"{tmp_path}/data/mine/spk1.scp") == 1  # noisy's is not shown
    # Stage 4 alone would score the old test set.
    for folder, words in (
        ("data/mine", [*mine, "--test_root"]),
        ("data", [*mine, "--valid_speakers"]),
        ("data", [*options, "--test_root"]),
    ):
        other = run_script(f"{RECIPE}/run.sh", *words, "another", *only(4))
        assert f"{folder} was made with another: run stage 1, or leave it out" in other.stderr
    assert (tmp_path / "data" / ".options").read_text() == made
    gate = run_script(f"{RECIPE}/run.sh", *mine, "--skip_gate", "false", *only(3))
    assert "the gate: scoring" in gate.stdout, gate.stderr
    for name, fault in (("valid", "has made it"), ("aJOB", "JOB"), ("../x", "a folder")):
        bad = run_script(f"{RECIPE}/run.sh", *options, "--test_set", name, *only(1))
        assert bad.returncode == 1 and fault in bad.stderr, bad.stderr


def test_stage_5_is_of_the_test_set_as_it_is_and_does_what_it_can(tmp_path, laid_out, ready):
    options, exp = laid_out
    # Tables of another test set than the one whose files the page would play.
    summary = tmp_path / "exp" / "noisy" / "scores_test" / "summary.json"
    summary.parent.mkdir(parents=True)
    summary.write_text("{}")
    os.utime(summary, (0, 0))
    stale = run_script(f"{RECIPE}/run.sh", *options, *only(5))
    assert "test/wav.scp is newer than" in stale.stderr and "run stage 4" in stale.stderr
    assert run_script(f"{RECIPE}/run.sh", *options, *only(4)).returncode == 0
    more = shutil.copytree(summary.parent, summary.parents[1] / "scores_mine")  # of another set
    shutil.copytree(tmp_path / "data" / "test", tmp_path / "data" / "mine")
    os.utime(more / "summary.json", (0, 0))
    # What stage 5 cannot look at costs no table.
    fails = '\n[[ "$1" != */drift.py ]] || exit 1\ncase '
    report = ready.read_text().replace(" score)", " score | report)")
    ready.write_text(report.replace("\ncase ", fails))
    (exp / "run.json").write_text("{}")
    tables = run_script(f"{RECIPE}/run.sh", *options, *only(5))
    assert "told: -m featnorm_se.bin.report" in tables.stdout and tables.returncode == 0
    assert f"goes on without a look at the features of {exp}" in tables.stdout
    assert "data/mine is newer than its scores: run stage 4 with --test_set mine" in tables.stdout


def test_the_number_of_talkers_is_that_of_the_data(tmp_path: Path, laid_out) -> None:
    options, exp = laid_out
    options += only(4)
    one = run_script(f"{RECIPE}/run.sh", *options, "--prepare", "kaldi", "--num_spk", "2")
    assert one.returncode == 1 and "data/train is of one talker, without spk2.scp" in one.stderr
    (tmp_path / "data" / "test" / "spk2.scp").touch()  # half of it would be scored
    two = run_script(f"{RECIPE}/run.sh", *options)
    assert two.returncode == 1 and "data/test is of two talkers: --num_spk 2" in two.stderr, (
        two.stderr
    )
    # What a finished model says of talkers, the YAML that goes on from it need not.
    for name in ("train/spk1.scp", "train/spk2.scp"):
        (tmp_path / "data" / name).write_text("a a.wav\n")
    more = ["--init", str(exp), "--stage", "2", "--stop_stage", "3"]
    more += ["--python", str(tmp_path / "python")]
    init = run_script("libri2mix/sep1/run.sh", *places(tmp_path), *more)
    assert init.returncode == 0, init.stderr
    (check,) = re.findall("told: .*check_config.py (.*)", init.stdout)
    assert "finetune.yaml" in check and "--num_spk" not in check


def test_statistics_are_of_the_card_as_it_is(tmp_path: Path, ready: Path) -> None:
    options = [*places(tmp_path), "--stage", "3", "--stop_stage", "3", "--skip_gate", "true"]
    options += ["--upstream", "tera_tiny", "--python", str(ready)]
    missing = run_script(f"{RECIPE}/run.sh", *options).stderr
    stats = Path(missing.partition("stage 3 needs ")[2].partition(": run stage 2 first")[0])
    stats.parent.mkdir(parents=True)
    stats.write_text("x")

    def run_stage(stage: str) -> str:
        return run_script(
            f"{RECIPE}/run.sh", *options, "--stage", stage, "--stop_stage", stage
        ).stderr

    # Stage 1 notes which files it has seen: other recordings in the same places are seen, too.
    for seen in ("", '"train": "1"\n', '"train": "2"\n'):
        (tmp_path / "data" / "prepare.json").write_text(seen)
        assert "tera_tiny.yaml as they are now: run stage 2 first" in run_stage("3")
        assert "error" not in run_stage("2") + run_stage("3")
    usual = ready.read_text()
    ends = {  # of its jobs
        "kill -9 $$ ;;": "stage 2: a job ended without a word: was it killed",
        f'echo b b.wav >> "{tmp_path}/data/train/spk1.scp" ;;': "data/train or .* was made anew",
    }
    for end, told in ends.items():
        ready.write_text(usual.replace('echo "told: $*" ;;', end))
        failed = run_script(f"{RECIPE}/run.sh", *options, "--stage", "2")
        assert failed.returncode == 1 and re.search(told, failed.stderr), failed.stderr
    assert "run stage 2 first" in run_stage("3")
