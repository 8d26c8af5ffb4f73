"""egs/mini/enh1 for real: all stages on a part of its corpus, and what run.sh refuses."""

import hashlib
import json
import os
import re
import subprocess
import zipfile
from fnmatch import fnmatchcase
from pathlib import Path

import soundfile
from recipe_runs import EGS, places, run_script, telling_python
from rows import Setting, plan_runs, read_rows

from featnorm_se.config import LENGTH
from featnorm_se.data.scp import read_scp
from featnorm_se.report.experiments import read_curves, read_scores
from featnorm_se.statistics import FeatureStats

RECIPE = EGS / "mini" / "enh1"
TAG = "tera_tiny_scratch_utterance_auto_train_seed0_num_iters_per_epoch=4"


def corpus_hash(entries: dict[str, str]) -> str:
    """What the statistics' meta data say of the corpus, computed from the files."""
    total = 0
    for key, path in entries.items():
        wav = soundfile.read(path, dtype="float32")[0]
        total += int(hashlib.sha256(key.encode() + wav.tobytes()).hexdigest(), 16)
    return f"{total % 2**256:064x}"


def without_procps(folder: Path) -> str:
    """Return a PATH as on a minimal Debian, which has no pkill, ps or their like."""
    missing = {"pkill", "pgrep", "ps", "pidof", "free", "top", "uptime", "w", "watch", "killall"}
    folder.mkdir()
    for place in ("/usr/bin", "/bin"):
        for command in os.scandir(place):
            if command.name not in missing and not (folder / command.name).exists():
                (folder / command.name).symlink_to(command.path)
    return str(folder)


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


def test_mixtures_of_another_data_folder_are_not_written_over(tmp_path: Path) -> None:
    owner = tmp_path / "dump" / ".mini.options"
    owner.parent.mkdir()
    (tmp_path / "other").mkdir()
    owner.write_text(f"{tmp_path}/other\nspeech_root \nnoise_root /noise\ncopies 1\nnum_spk 1\n")
    options = [*places(tmp_path), "--upstream", "tera_tiny", "--stop_stage", "1"]
    told = (
        f"{tmp_path}/dump has the mixtures of --datadir {tmp_path}/other, made with other options"
    )
    assert told in run(*options).stderr
    assert not (tmp_path / "data").exists()


def files_below(exp: Path) -> set[Path]:
    return {path.relative_to(exp) for path in exp.rglob("*") if path.is_file()}


def check_table_of_files(files: set[Path]) -> None:
    """doc/use.md says what each file of an experiment is: all of them, and no other."""

    def is_named(file: Path, name: str) -> bool:
        return fnmatchcase(str(file), name + "*" if name.endswith("/") else name)

    page = (RECIPE.parents[2] / "doc" / "use.md").read_text()
    table = page.partition("| in `exp/NAME` |")[2].partition("\n\n")[0]
    cells = [line.split("|")[1] for line in table.splitlines()[2:]]
    names = [name for cell in cells for name in re.findall("`([^`]+)`", cell)]
    seen = [file for file in files if not any(part[0] == "." for part in file.parts)]
    unknown = [file for file in seen if not any(is_named(file, name) for name in names)]
    missing = [name for name in names if not any(is_named(file, name) for file in seen)]
    assert (unknown, missing) == ([], [])


def test_all_stages(tmp_path):
    options = places(tmp_path)
    options[3] += " of 'mine'"  # the folder of data directories: a path may hold what shells read
    options += ["--upstream", "tera_tiny", "--copies", "1", "--nj", "1", "--inference_nj", "1"]
    options += ["--set", "max_epoch=1 num_iters_per_epoch=4", "--metrics", "PESQ_WB STOI"]
    options += [*unpack_some(tmp_path), "--norm_site", " auto"]
    first = run(*options, PATH=without_procps(tmp_path / "bin"))
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
    assert record["norm_site"] == "projection" and record["finished"]
    for folder in (tmp_path / "exp" / "noisy", exp):
        rows = read_scores(folder / "scores_test" / "scores.csv").values()
        assert len(rows) == 4 and all(1 <= row["PESQ_WB"] <= 4.65 for row in rows)
    both = [folder / "scores_test" / "summary.json" for folder in (exp.parent / "noisy", exp)]
    assert len({json.loads(path.read_text())["input"] for path in both}) == 1
    results = (tmp_path / "RESULTS.md").read_text()
    assert "noisy" in results and "--upstream tera_tiny" in results
    assert "statistics at projection (auto, the default site, is projection here)" in first.stderr
    assert "epoch 1: train loss 0." in first.stdout and ", the best so far by valid" in first.stdout

    kept = [exp / name for name in ("valid_shape", "run.json", "config.yaml", "train.log")]
    times = [path.stat().st_mtime_ns for path in kept]
    tells, refuses = telling_python(tmp_path / "python"), tmp_path / "refuses"
    refuses.write_text(
        tells.read_text().replace('score) echo "told: $*"', "score) echo error: refused; exit 1")
    )
    refuses.chmod(0o755)
    other = run(*options, "--stage", "3", "--stop_stage", "3", "--python", str(refuses))
    assert [path.stat().st_mtime_ns for path in kept] == times
    assert other.returncode == 1 and f"refused ({exp}/refused.log)" in other.stderr
    assert "train.log" not in other.stderr
    # An epoch more: the log of the first is kept, and the report reads both.
    options[options.index("--set") + 1] = "max_epoch=2 num_iters_per_epoch=4"
    before = files_below(exp)
    longer = run(*options, "--stage", "3", "--stop_stage", "3")
    assert longer.returncode == 0, longer.stdout + longer.stderr
    assert [epoch for epoch, _ in read_curves(exp)["valid"]] == [1, 2]
    check_table_of_files(before | files_below(exp))

    # Training goes on from a model without statistics, checkpoint or a word of what it is.
    more = ["--init", str(exp), "--set", "optim_conf.betas=[0.5, 0.9]  max_epoch=1"]
    more += ["--python", str(tells)]
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


def test_the_grid_tells_what_it_would_run_and_touches_nothing(tmp_path):
    words = [*places(tmp_path), "--output", str(tmp_path / "output"), "--dry_run", "true"]
    done = run_script("mini/enh1/grid.sh", *words, "--tables", "claim", "--seeds", "0 1")
    assert done.returncode == 0, done.stderr
    first, *rows = done.stdout.splitlines()
    # No other upstream than those that the tables ask for.
    assert first == "to be pre-trained, unless they are there: tera_raw"
    assert len(rows) == 12 and all("--upstream_ckpt" in row for row in rows)
    assert sum("conf/mini_frozen.yaml" in row for row in rows) == 6
    assert list(tmp_path.iterdir()) == []


def test_every_row_of_the_grid_is_a_model_and_can_be_planned(tmp_path):
    setting = Setting(
        config="conf/mini_grid.yaml", conf_dir=str(RECIPE / "conf" / "upstream"), ckpt_dir="/some"
    )
    for file in sorted((RECIPE / "conf" / "tables").glob("*.yaml")):
        rows = read_rows(file, setting)
        assert all((RECIPE / row.config).is_file() for row in rows if row.config)
        assert len({row.name for row in rows}) == len(rows) and any(row.baseline for row in rows)
        plan = plan_runs(rows, [0, 1], tmp_path)
        trained = [row for row in rows if not row.is_noisy]
        assert len(plan) == len({job["tag"] for job in plan}) == 2 * len(trained)
        if file.stem == "sites":  # the control of every site: without clean statistics
            pairs = {(r.norm, r.norm_site) for r in rows if r.norm in ("utterance", "instance")}
            single = {pair for pair in pairs if pair[1] not in ("all", "frontend,last")}
            assert len({site for _, site in single}) == 4 and len(single) == 8
