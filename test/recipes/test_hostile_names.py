"""Names that a shell, a list or a page could trip over go through all stages, or are refused."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from featnorm_se.data.scp import read_scp

EGS = Path(__file__).parents[2] / "egs"
# In names of utterances and speakers Kaldi's lists allow no blank, so ${IFS} stands for it.
TOUCH = "touch${IFS}ran"
TRAIN = [f"$({TOUCH})", f"`{TOUCH}`", f"a;{TOUCH};", 'it\'s_"q"']
VALID = ["-rf", "übung_日本語"]
TEST = ["k" * 251, f"&{TOUCH}|x", "*", "<img/src=x/onerror=alert(1)>", "JOB_%s{}\\n#~$HOME"]
FOLDER = "co rpus $(touch ran) `touch ran` ;'q\"\\ü"


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A recipe of its own, so that whatever is run by mistake leaves its mark here."""
    folder = tmp_path / "recipe"
    shutil.copytree(EGS / "mini" / "enh1" / "conf", folder / "conf")
    for name in ("featnorm.sh", "options.sh", "path.sh", "cmd.sh"):
        (folder / name).symlink_to(EGS / "TEMPLATE" / "enh1" / name)
    shutil.copy(EGS / "mini" / "enh1" / "run.sh", folder)
    return folder


def run(recipe: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["./run.sh", "--upstream", "tera_tiny", "--config", "conf/demo.yaml", *options],
        cwd=recipe,
        env={**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )


def speech(path: Path, seed: int, seconds: float = 1.1) -> None:
    """Write noise that swells like syllables."""
    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(int(seconds * 16000)) / 16000
    draw = np.random.default_rng(seed).standard_normal(len(time))
    soundfile.write(path, 0.1 * draw * np.sin(2 * np.pi * 3 * time) ** 2, 16000)


def kaldi_corpus(root: Path) -> Path:
    """Write data directories of hostile names in a folder of a hostile name."""
    for part, names in (("train", TRAIN), ("valid", VALID), ("test", TEST)):
        (root / part).mkdir(parents=True)
        lists: dict[str, list[str]] = {"wav.scp": [], "spk1.scp": [], "utt2spk": []}
        for number, name in enumerate(names):
            for scp in ("wav.scp", "spk1.scp"):
                wav = root / "w av" / f"{part} {number} {scp}';$(touch ran).wav"
                speech(wav, seed=number + (scp == "wav.scp"))
                lists[scp].append(f"{name} {wav}\n")
            lists["utt2spk"].append(f"{name} s{name[:40].replace('/', '')}\n")
        for scp, lines in lists.items():
            (root / part / scp).write_text("".join(lines))
        conditions = [f"{name} <b>`{TOUCH}` 5\n" for name in names]
        (root / part / "utt2cond").write_text("".join(conditions))
    return root


def ran(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.name.startswith("ran")]


@pytest.mark.slow
def test_hostile_names_go_through_all_stages_and_nothing_is_run(recipe: Path, tmp_path: Path):
    root = kaldi_corpus(tmp_path / FOLDER)
    data = tmp_path / f"da ta {FOLDER}"
    done = run(
        recipe,
        *("--prepare", "kaldi", "--db_root", str(root), "--datadir", str(data)),
        *("--set", "max_epoch=1 num_iters_per_epoch=2 batch_size=2 use_matplotlib=false"),
        *("--metrics", "SI_SDR", "--nj", "2", "--inference_nj", "2"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert ran(tmp_path) == []
    (exp,) = (path.parent for path in recipe.glob("exp/*/run.json"))
    assert "touch" in json.loads((exp / "run.json").read_text())["command"]
    assert sorted(read_scp(exp / "enhanced_test" / "spk1.scp")) == sorted(TEST)
    with open(exp / "scores_test" / "scores.csv", newline="") as handle:
        rows = {row["utt_id"]: row["SI_SDR"] for row in csv.DictReader(handle)}
    assert sorted(rows) == sorted(TEST) and all(rows.values())
    page = (recipe / "report" / "index.html").read_text()
    assert "<img/src" not in page and "<b>`" not in page


def test_real_recordings_of_hostile_names_become_a_mini_corpus(recipe: Path, tmp_path: Path):
    root = tmp_path / FOLDER
    speakers = [*TRAIN, *VALID, "new\nline", "ta\tb", "s" * 255, "a b"]
    for number, speaker in enumerate(speakers):
        speech(root / "speech" / speaker / f"{number} -$(touch ran)'.wav", number)
    for number, name in enumerate(("$(touch ran)", "new\nline", "-n \x1b[2J", "<b>", " ")):
        speech(root / "noise" / f"{name}.wav", 100 + number, 2.0)
    places = ["--speech_root", str(root / "speech"), "--noise_root", str(root / "noise")]
    done = run(recipe, *places, "--stop_stage", "1", "--nj", "1")
    assert done.returncode == 0, done.stderr
    assert ran(tmp_path) == []
    told = json.loads((recipe / "dump" / "mini" / "mini.json").read_text())["counts"]
    behind = [name for part in told.values() if isinstance(part, dict)
              for people in part["speakers"].values() for name in people]  # fmt: skip
    assert sorted(behind) == sorted(speakers)
    conditions = (recipe / "data" / "test" / "utt2cond").read_text().splitlines()
    assert conditions and all(len(line.split("\t")) == 3 for line in conditions)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("two words", "no such audio file"),  # the list ends the name at the blank
        ("bell\x07", "odd character"),
        ("../../up", "leads out"),
        ("k" * 252, "name too long"),
    ],
)
def test_what_a_list_cannot_carry_is_refused_by_name(recipe, tmp_path, name, told):
    root = kaldi_corpus(tmp_path / "k")
    for scp in ("wav.scp", "spk1.scp"):
        wav = tmp_path / "x 8k.wav"
        soundfile.write(wav, np.random.default_rng(0).standard_normal(9000) / 9, 48000)
        (root / "test" / scp).write_text(f"{name} {wav}\n")
    (root / "test" / "utt2spk").unlink()
    done = run(recipe, "--prepare", "kaldi", "--db_root", str(root), "--stop_stage", "1")
    lines = [line for line in done.stderr.splitlines() if "error:" in line]
    assert done.returncode != 0 and len(lines) == 1 and told in lines[0], done.stderr
    assert not (recipe / "data" / "test").exists()


@pytest.mark.parametrize(
    "options",
    [
        ["--upstream_ckpt", "https://example.invalid/$(touch${IFS}ran)"],
        ["--$(touch ran)", "1"],
        ["--x[$(touch ran)]", "1"],
        ["--set", "a=$(touch ran)"],
        ["--norm_site", "$(touch ran)"],
        ["--seed", "a[$(touch ran)]"],
        ["--metrics", "$(touch ran)"],
        ["--python", "touch ran"],
        ["--inference_nj", "08"],
    ],
    ids=lambda options: options[0],
)
def test_an_option_is_never_run(recipe: Path, tmp_path: Path, options: list[str]):
    kaldi_corpus(recipe / "data")
    done = run(recipe, "--stage", "2", "--stop_stage", "2", *options)
    assert ran(tmp_path) == []
    if options[0] not in ("--set", "--metrics"):  # those two are of later stages
        assert done.returncode != 0
        assert len([line for line in done.stderr.splitlines() if "error:" in line]) == 1
