"""A table of bad inputs: each ends with one line that names the culprit, and touches nothing.

A case is one line of ``CASES``: its name, the command, what is spoiled, and words that the line
must hold. The command is a word of ``COMMANDS`` and more options; they come after the command's
own, so they count. ``= `` in front of them puts them in the place of all of its own.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import bad_inputs_world as world
import numpy as np
import pytest
from bad_inputs_world import (
    arrays,
    both,
    config,
    cut,
    drop,
    header,
    meta,
    noise,
    nothing,
    put,
    put_json,
    repacked,
    states,
    wav,
)

from featnorm_se.bin import run

COMMANDS = {
    "check": "--upstream tera_tiny",
    "prepare": "--db_root corpus --output out/data --nj 1",
    "make_mini": "--output out/mini --speech_root corpus --noise_root corpus --nj 1",
    "collect_stats": "--output out/x.npz --wav_scp data/train/spk1.scp --upstream tera_tiny"
    " --upstream_ckpt scratch",
    "train": "--expdir out/exp --config conf/train.yaml --train_dir data/train"
    " --valid_dir data/valid --upstream tera_tiny --upstream_ckpt scratch",
    "enhance": "wavs/a.wav -o out/a.wav --model model.zip",
    "enhance_set": "--model exp/tiny --wav_scp data/test/wav.scp --output out/enhanced",
    "score": "--ref data/test/spk1.scp --inf data/test/wav.scp --output out/scores"
    " --metrics SI_SDR --nj 1",
    "pack": "exp/tiny out/model.zip",
    "report": "--expdir exp --output out/RESULTS.md",
    "compare": "exp/noisy exp/tiny --output out/c.png --metric SI_SDR",
    "gate": "--scores exp/noisy/scores_test",
    "drift": "--expdir exp/tiny --datadir data/valid --output out/features",
    "info": "--stats stats/clean.npz",
    "tables": "--table t --rows conf/tables --expdir exp --output out/tables",
    "download": "--output out/downloads",
    "espnet": "espnet2.bin.enh_inference",
}

PCM_FRAMES = 40  # where the size of the samples stands in a plain WAV file
MORE = (10**6).to_bytes(4, "little")
STATS, CKPT, WAV = "stats/clean.npz", "ckpt/tera_tiny.pt", "wavs/a.wav"
NOISY = "corpus/noisy_testset_wav/p232_001.wav"
WITH_CKPT = f"collect_stats --upstream_ckpt {CKPT}"
KALDI = "prepare --corpus kaldi --db_root kaldi"
SCP = "data/test/wav.scp"
BOMB = "a: &a [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"{b}: &{b} [*{a},*{a},*{a},*{a},*{a},*{a},*{a},*{a}]\n"
    for a, b in zip("abcdefghij", "bcdefghijk", strict=True)
)

# fmt: off
CASES = [
    # --- lists (scp) ---
    ("scp: is empty", "collect_stats", put("data/train/spk1.scp", ""), "spk1.scp is empty"),
    ("scp: is missing", "collect_stats", drop("data/train/spk1.scp"), "spk1.scp", "No such file"),
    ("scp: is a folder", "collect_stats --wav_scp data", nothing, "data", "directory"),
    ("scp: a key alone", "enhance_set", put(SCP, "p232_001\n"), "wav.scp line 1", "no value"),
    ("scp: a key twice", "enhance_set", put(SCP, "a x\na y\n"), "line 2", "'a' comes twice"),
    ("scp: not UTF-8", "enhance_set", put(SCP, b"a \xff\n"), "wav.scp", "not UTF-8"),
    ("scp: a zero byte", "enhance_set", put(SCP, "a x\0y\n"), "wav.scp line 1", "odd character"),
    ("scp: an escape in a key", "enhance_set", put(SCP, "a\x1b[2J x\n"), r"a\x1b[2J", "rename"),
    ("scp: a key that leads out", "enhance_set", put(SCP, "../../a x\n"), "'../../a' leads out"),
    ("scp: an absolute key", "enhance_set", put(SCP, f"/tmp/a {WAV}\n"), "'/tmp/a' leads out"),
    ("scp: a command", "enhance_set", put(SCP, "a touch ran |\n"), "touch ran |", "not run here"),
    ("scp: no such file", "enhance_set", put(SCP, "a no/such.wav\n"), "no such audio",
     "no/such.wav"),
    ("scp: a folder", "enhance_set", put(SCP, "a corpus\n"), "no such audio file: corpus"),
    ("scp: a very long key", "enhance_set", put(SCP, f"{'k' * 300} {WAV}\n"), "name too long"),
    ("scp: an archive that is none", "enhance_set", put(SCP, f"a {WAV}:9\n"),
     "no audio in a Kaldi"),
    ("score: a pipe", "score", put(SCP, "p232_001 cat x |\n"), "p232_001 is a pipe", "stage 1"),
    ("score: nothing in common", "score", put(SCP, f"other {WAV}\n"), "no utterance in common"),
    ("score: conditions", "score --utt2cond c", put("c", "p232_001 bus\np2 bus\n"), "c line 2"),
    # --- data directories ---
    ("train: no wav.scp", "train", drop("data/train/wav.scp"), "data/train has no wav.scp",
     "stage 1"),
    ("train: no GPU", "train --ngpu 1", nothing, "--ngpu 1", "no GPU"),
    ("train: unsorted", "train", put("data/train/wav.scp", f"b {WAV}\na {WAV}\n"), "not sorted"),
    ("train: twins differ", "train",
     wav("corpus/clean_trainset_28spk_wav/p227_001.wav", noise(0.1)), "p227_001", "6400 samples",
     "1600"),
    ("train: other rate", "train", wav("corpus/clean_trainset_28spk_wav/p227_001.wav", rate=8000),
     "p227_001", "8000 Hz"),
    ("train: a twin is missing", "train", put("data/valid/spk1.scp", f"p226_001 {WAV}\n"),
     "data/valid", "p287_001 is in wav.scp only"),
    ("kaldi: a command", KALDI, put("kaldi/test/wav.scp", "p232_001 touch ran |\n"),
     "'touch ran |'", "--allow_pipes true"),
    ("kaldi: no set", f"{KALDI} --db_root data/train", nothing, "data/train/train",
     "three are wanted"),
    ("kaldi: in and out the same", f"{KALDI} --output kaldi", nothing, "the same folder, kaldi"),
    ("kaldi: one list longer", KALDI, put("kaldi/test/spk1.scp", f"p232_001 {WAV}\nx {WAV}\n"),
     "kaldi/test", "x is in spk1.scp only"),
    ("kaldi: in two sets", KALDI, put("kaldi/test/wav.scp", f"p227_001 {WAV}\n"), "p227_001"),
    # --- corpora ---
    ("corpus: no such folder", "prepare --db_root none", nothing, "no such folder: none",
     "--db_root"),
    ("corpus: half of it", "prepare --db_root wavs", nothing, "noisy_trainset_28spk_wav"),
    ("corpus: no twin", "prepare", drop("corpus/clean_trainset_28spk_wav/p227_001.wav"),
     "p227_001", "twin"),
    ("corpus: no audio", "prepare", put(NOISY, "hello"), "p232_001", "no audio that libsndfile"),
    ("corpus: silent", "prepare", wav(NOISY, np.zeros(6400)), "p232_001", "is silent"),
    ("corpus: NaN", "prepare", wav(NOISY, np.full(6400, np.nan), subtype="FLOAT"), "p232_001",
     "NaN"),
    ("corpus: two channels", "prepare", wav(NOISY, np.ones((6400, 2)) / 9), "p232_001",
     "2 channels"),
    ("corpus: too low a rate", "prepare",
     both(wav(NOISY, noise(rate=8000), 8000), wav(NOISY.replace("noisy", "clean"), noise(
      rate=8000), 8000)), "8000 Hz", "not in it"),
    ("corpus: a name with a blank", "prepare", put("corpus/noisy_testset_wav/p 1.wav", ""),
     "p 1.wav", "rename it"),
    ("corpus: a name twice", "prepare", put("corpus/noisy_testset_wav/p232_001.flac", ""),
     "p232_001 comes twice"),
    ("corpus: a bad log", "prepare", put("corpus/log_testset.txt", "p232_001 bus loud\n"),
     "log_testset.txt line 1"),
    ("corpus: no such speaker", "prepare --valid_speakers p999", nothing, "p999",
     "--valid_speakers"),
    ("corpus: none left to train", "prepare --valid_speakers 'p226 p227 p228 p287'", nothing,
     "nothing is left to train"),
    ("corpus: a rate of zero", "prepare --sample_rate 0", nothing, "--sample_rate 0", "16000"),
    ("corpus: no processes", "prepare --nj 0", nothing, "--nj 0", "at least one"),
    ("mini: too few speakers", "make_mini --speech_root wavs", nothing,
     "wavs has too few speakers"),
    ("mini: no recordings", "make_mini --speech_root conf", nothing, "conf holds no audio file"),
    ("mini: options", "make_mini --copies 0", nothing, "--copies 0", "at least 1"),
    ("mini: not its own folder", "make_mini --output corpus", nothing, "corpus", "not made by"),
    # --- audio to enhance ---
    ("audio: missing", "enhance = none.wav -o out --model model.zip", nothing, "none.wav"),
    ("audio: text", "enhance", put(WAV, "RIFF and no more"), "wavs/a.wav", "no audio"),
    ("audio: empty", "enhance", put(WAV, ""), "wavs/a.wav is empty"),
    ("audio: no samples", "enhance", wav(WAV, np.zeros(0)), "wavs/a.wav has no samples"),
    ("audio: cut short", "enhance", cut(WAV), "wavs/a.wav is cut short"),
    ("audio: NaN", "enhance", wav(WAV, np.full(9000, np.nan), subtype="FLOAT"), "wavs/a.wav",
     "NaN"),
    ("audio: a promise", "enhance_set", both(put(SCP, f"a {WAV}"), header(WAV, PCM_FRAMES, MORE)),
     "wavs/a.wav"),
    ("audio: over itself", f"enhance = {WAV} -o {WAV} --model model.zip", nothing, "over itself"),
    ("audio: an unknown ending", "enhance -o out/a.xyz", nothing, "out/a.xyz", "no format"),
    ("audio: a folder of none", "enhance = conf -o out --model model.zip", nothing,
     "conf holds no"),
    ("enhance: window", "enhance --window 0.1", nothing, "windows of 0.1 s"),
    ("enhance: window nan", "enhance --window nan", nothing, "--window", "nan"),
    ("enhance: batch", "enhance --batch 0", nothing, "--batch 0", "at least 1"),
    ("enhance: stats", "enhance --stats all", nothing, "--stats", "'all'"),
    ("enhance: processes", "enhance --nj 0", nothing, "--nj 0", "at least one"),
    ("enhance: device", "enhance --device tpu", nothing, "--device", "'tpu'"),
    ("enhance: somebody's files", "enhance -o wavs/other", put("wavs/other/a.wav", "mine"),
     "wavs/other/a.wav", "--overwrite"),
    ("set: shard", "enhance_set --shard 3/2", nothing, "--shard", "'3/2'"),
    ("set: rate", "enhance_set", wav(NOISY, noise(rate=8000), 8000), "8000 Hz", "run stage 1"),
    ("set: not all enhanced", "enhance_set --list", nothing, "1 of 1", "run stage 4 again"),
    # --- models ---
    ("model: none", "enhance --model none", nothing, "none", "no such experiment"),
    ("model: no zip", "enhance", put("model.zip", "PK and so on"), "model.zip is no packed model"),
    ("model: cut", "enhance", cut("model.zip"), "model.zip is no packed model"),
    ("model: code in it", "enhance", repacked("model.zip", evil_py=b"x"), "evil.py"),
    ("model: no weights", "enhance", repacked("model.zip", model_safetensors=None),
     "holds no model"),
    ("model: a promise", "enhance", repacked("model.zip", model_safetensors=b"\xff" * 8 + b"{}"),
     "model.safetensors", "no whole file"),
    ("model: YAML objects", "enhance",
     repacked("model.zip", config_yaml=b"!!python/object/apply:os.system [touch ran]"),
     "config.yaml", "YAML"),
    ("model: a bomb of aliases", "enhance",
     repacked("model.zip", config_yaml=f"{BOMB}separator: *k\n".encode()), "config.yaml",
     "aliases"),
    ("model: of another kind", "enhance", repacked("model.zip", config_yaml=b"separator: tcn"),
     "'tcn'"),
    ("model: a vast network", "enhance_set",
     config("exp/tiny/config.yaml", separator_conf={"upstream": "tera_tiny", "units": 10**9}),
     "width 1000000000"),
    ("model: a class by its path", "enhance_set",
     config("exp/tiny/config.yaml", separator_conf={"upstream": "x",
      "upstream_conf": {"family": "os.path"}}), "no family 'os.path'"),
    ("model: no config.yaml", "enhance_set", drop("exp/tiny/config.yaml"), "exp/tiny", "stage 3"),
    ("model: weights cut", "enhance_set", cut("exp/tiny/valid.loss.best.pth"),
     "valid.loss.best.pth"),
    ("model: weights of another", "enhance_set",
     states("exp/tiny/valid.loss.best.pth", lambda s: {k: v for k, v in list(s.items())[1:]}),
     "do not fit"),
    ("model: no such weights", "enhance_set --model_file x.pth", nothing, "x.pth"),
    ("pack: no zip", "pack = exp/tiny out/model.tar", nothing, "out/model.tar", ".zip"),
    ("pack: a broken record", "pack", put("exp/tiny/run.json", "{"), "run.json", "no JSON"),
    ("pack: builds no model", "pack", config("exp/tiny/config.yaml", separator_conf=None),
     "exp/tiny"),
    # --- checkpoints and upstreams ---
    ("upstream: unknown", "check --upstream bert", nothing, "'bert'", "tera_tiny"),
    ("upstream: card is no YAML", "check --upstream x --upstream_conf_dir conf/upstream",
     put("conf/upstream/x.yaml", "a: [1"), "conf/upstream/x.yaml"),
    ("upstream: card has no family", "check --upstream x --upstream_conf_dir conf/upstream",
     put("conf/upstream/x.yaml", "a: 1"), "conf/upstream/x.yaml", "no family"),
    ("upstream: site", "check --norm_site layer.9", nothing, "'layer.9'", "frontend"),
    ("upstream: norm", "check --norm batch", nothing, "'batch'", "utterance"),
    ("checkpoint: none", "check --upstream_ckpt none.pt", nothing, "none.pt", "'scratch'"),
    ("checkpoint: empty", WITH_CKPT, put(CKPT, ""), "tera_tiny.pt", "is empty"),
    ("checkpoint: a web page", WITH_CKPT, put(CKPT, "<html>404"), "tera_tiny.pt", "web page"),
    ("checkpoint: cut", WITH_CKPT, cut(CKPT), "tera_tiny.pt", "cut short"),
    ("checkpoint: a list", WITH_CKPT, states(CKPT, lambda s: [s]), "tera_tiny.pt", "a list"),
    ("checkpoint: of WavLM's family", f"{WITH_CKPT} --upstream wavlm_tiny", nothing,
     "not one of wavlm"),
    ("checkpoint: a weight missing", WITH_CKPT,
     states(CKPT, lambda s: s["Transformer"].popitem() and None), "tera_tiny.pt", "1 missing"),
    ("checkpoint: a vast network", WITH_CKPT,
     states(CKPT, lambda s: s["Upstream_Config"]["transformer"].update(hidden_size=10**7)),
     "tera_tiny.pt", "width 10000000"),
    ("checkpoint: over http", f"{WITH_CKPT[: -len(CKPT)]}http://example.org/a.pt", nothing,
     "http://example.org/a.pt", "https"),
    # --- statistics ---
    ("stats: none", "info --stats none.npz", nothing, "none.npz", "stage 2"),
    ("stats: text", "info", put(STATS, "hello"), "clean.npz", "no whole statistics"),
    ("stats: cut", "info", cut(STATS), "clean.npz", "no whole statistics"),
    ("stats: objects", "info", arrays(STATS, projection_mean=np.array([{}], dtype=object)),
     "clean.npz"),
    ("stats: NaN", "info", arrays(STATS, projection_mean=np.full(48, np.nan)), "projection",
     "cannot be"),
    ("stats: widths", "info", arrays(STATS, projection_m2=np.ones(3)), "projection", "(3,)"),
    ("stats: another format", "info", meta(STATS, format=9), "clean.npz", "format 9"),
    ("stats: meta of the wrong kind", "info", meta(STATS, samples="many"), "clean.npz", "samples"),
    ("stats: too large", "info", arrays(STATS, projection_mean=np.zeros(1 << 20)), "too large"),
    ("stats: nothing to merge", f"collect_stats --merge {STATS} none.npz", nothing, "none.npz"),
    ("stats: of other speech", f"collect_stats --merge {STATS} b.npz",
     both(lambda: shutil.copy(STATS, "b.npz"), meta("b.npz", kind="noisy")),
     "kind 'clean' and 'noisy'"),
    ("stats: silence", "collect_stats",
     wav("corpus/clean_trainset_28spk_wav/p227_001.wav", np.zeros(6400)), "p227_001", "silent"),
    ("stats: shard", "collect_stats --shard 0/2", nothing, "--shard", "'0/2'"),
    ("stats: more shards than speech", "collect_stats --shard 9/9", nothing, "shard 9 of 9"),
    ("stats: nothing to do", "collect_stats --wav_scp ''", nothing, "--wav_scp", "--merge"),
    ("stats: processes", "collect_stats --nj 0", nothing, "--nj is 0"),
    ("stats: seed", "collect_stats --seed -1", nothing, "--seed -1", "0 to"),
    ("stats: no GPU", "collect_stats --device cuda", nothing, "--device cuda", "no GPU"),
    # --- configuration ---
    ("config: missing", "train --config none.yaml", nothing, "none.yaml"),
    ("config: no YAML", "train", put("conf/train.yaml", "a: [1"), "conf/train.yaml is no YAML"),
    ("config: a list", "train", put("conf/train.yaml", "- 1"), "conf/train.yaml holds no"),
    ("config: a bomb", "train", put("conf/train.yaml", BOMB), "conf/train.yaml", "aliases"),
    ("config: nested deep", "train", put("conf/train.yaml", "[" * 100_000), "conf/train.yaml",
     "deep"),
    ("config: its own base", "train", put("conf/train.yaml", "base: ../conf/train.yaml"),
     "own base"),
    ("config: no such base", "train", put("conf/train.yaml", "base: x.yaml"), "conf/x.yaml"),
    ("config: a key that is no text", "train", put("conf/train.yaml", "no: 1"),
     "ESPnet knows no False"),
    ("config: a group that is none", "train", config("conf/train.yaml", encoder_conf=3),
     "encoder_conf"),
    ("config: no such option", "train --norm none --set separator_conf.depth=3", nothing, "depth"),
    ("config: --set", "train --norm none --set lr", nothing, "--set 'lr'", "key=value"),
    ("config: no key of ESPnet", "train --set nonsense=1", nothing, "conf/train.yaml", "nonsense"),
    ("config: no number", "train --set max_epoch=many", nothing, "max_epoch", "'many'"),
    ("config: no optimizer", "train --set optim=best", nothing, "optim", "'best'", "adam"),
    ("config: no scheduler", "train --set scheduler=best", nothing, "scheduler", "warmuplr"),
    ("config: no loss", "train --norm none --set criterions=3", nothing, "no such model"),
    ("config: loads a file", "train --set init_param=[x.pth]", nothing, "init_param", "run code"),
    ("train: norm", "train --norm batch", nothing, "'batch'", "utterance"),
    ("train: site", "train --norm_site layer.9", nothing, "'layer.9'"),
    ("train: seed", "train --seed -3", nothing, "--seed -3"),
    # --- results ---
    ("report: no folder", "report --expdir none", nothing, "none", "--expdir"),
    ("report: nothing in it", "report --expdir conf", nothing, "conf", "run stage 4"),
    ("report: a broken summary", "report", put("exp/tiny/scores_test/summary.json", "{"),
     "summary.json"),
    ("report: a list", "report", put_json("exp/tiny/run.json", []), "run.json", "no JSON object"),
    ("report: odd metrics", "report",
     put_json("exp/tiny/scores_test/summary.json", {"metrics": 3}),
     "exp/tiny/scores_test/summary.json", "metrics"),
    ("compare: no scores", "compare = exp/noisy conf", nothing, "conf has no scores"),
    ("compare: metric", "compare --metric LOUDNESS", nothing, "'LOUDNESS'", "PESQ_WB"),
    ("compare: no table", "compare", put("exp/tiny/scores_test/scores.csv", "a,b\n1,2\n"),
     "scores.csv"),
    ("gate: no scores", "gate --scores conf", nothing, "conf", "no scores"),
    ("drift: not trained", "drift --expdir conf", nothing, "conf", "stage 3"),
    ("drift: of none", "drift --utterances 0", nothing, "--utterances 0", "at least 1"),
    ("tables: no such table", "tables --table none", nothing, "none", "there are t"),
    ("tables: a row's key", "tables", put("conf/tables/t/0.yaml", "model: x"),
     "conf/tables/t/0.yaml"),
    ("tables: a row is no YAML", "tables", put("conf/tables/t/0.yaml", "{"), "t/0.yaml", "YAML"),
    ("tables: seeds", "tables --seeds one", nothing, "--seeds", "'one'"),
    ("tables: no such run", "tables --plan p.json --run 0", put("p.json", "[]"), "p.json",
     "no run 0"),
    ("tables: run of no plan", "tables --run 1", nothing, "--plan"),
    ("score: metric", "score --metrics LOUDNESS", nothing, "'LOUDNESS'", "SI_SDR"),
    ("score: processes", "score --nj 0", nothing, "--nj is 0"),
    ("score: no such folder", "score --ref none", nothing, "none", "no such folder"),
    # --- any command line ---
    ("options: unknown", "pack --fast", nothing, "--fast", "--help"),
    ("options: missing", "enhance = a.wav", nothing, "--output", "--help"),
    ("options: no number", "score --nj many", nothing, "--nj", "'many'"),
    ("options: no choice", "collect_stats --kind loud", nothing, "--kind", "'loud'"),
    ("download: over http", "download --server http://example.org", nothing, "https"),
    ("espnet: no command of it", "espnet = os.system", nothing, "'os.system'", "espnet2.bin"),
]
# fmt: on
# Lines that tell how far the work is, before the one that ends it.
PROGRESS = re.compile(
    r"(prepare|make_mini|failed|enhancing|unpacking|fetching|note|warning)\b.*"
    r"|.* statistics, .*| +to .*|\d+ failed: .*"
)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("good") / "world"
    world.build(root)
    return root


@pytest.fixture
def here(good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a fresh copy of the good world."""
    folder = tmp_path / "world"
    shutil.copytree(good, folder)
    monkeypatch.chdir(folder)
    if "featnorm_se.inference.jobs" in sys.modules:  # it keeps the last model, by its name
        sys.modules["featnorm_se.inference.jobs"].load_once.cache_clear()
    return folder


def command_line(line: str) -> tuple[str, list[str]]:
    """Return the command's word and its arguments."""
    word, *options = shlex.split(line)
    if options[:1] == ["="]:
        return word, options[1:]
    return word, [*shlex.split(COMMANDS[word]), *options]


def test_there_are_many_cases_and_no_name_twice() -> None:
    assert len(CASES) >= 60
    assert len({name for name, *_ in CASES}) == len(CASES)
    assert {line.split()[0] for _, line, *_ in CASES} == set(COMMANDS)


@pytest.mark.parametrize(
    "word", ["check", "collect_stats", "enhance_set", "pack", "info", "report", "gate", "tables"]
)
def test_the_same_command_on_good_files_ends_well(here: Path, word: str, capsys) -> None:
    assert run(import_module(f"featnorm_se.bin.{word}").main, command_line(word)[1]) == 0
    assert "error" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "spoil", "words"), [pytest.param(c[1], c[2], c[3:], id=c[0]) for c in CASES]
)
def test_one_line_tells_the_culprit_and_nothing_is_touched(
    here: Path, line: str, spoil, words, capsys, monkeypatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    spoil()
    before = world.tree()
    word, arguments = command_line(line)
    main = import_module(f"featnorm_se.bin.{word}").main
    assert run(main, arguments) != 0
    told = capsys.readouterr().err.splitlines()
    errors = [part for part in told if not PROGRESS.fullmatch(part)]
    assert len(errors) == 1 and errors[0] == told[-1], told
    assert errors[0].startswith("featnorm_se: error: ") and len(errors[0]) < 1000
    assert [part for part in words if part not in errors[0]] == [], errors[0]
    assert world.tree() == before
    with pytest.raises(Exception):  # noqa: B017 (whatever it is, it is not swallowed)
        run(main, [*arguments, "--debug"])


def test_a_stage_that_fails_leaves_what_an_earlier_one_made(here: Path, capsys) -> None:
    main = import_module("featnorm_se.bin.prepare").main
    arguments = command_line("prepare")[1]
    assert run(main, arguments) == 0
    wav(NOISY, np.zeros(6400))()
    before = world.tree()
    assert run(main, arguments) == 1
    assert "is silent" in capsys.readouterr().err
    assert world.tree() == before


@pytest.mark.parametrize(
    "line",
    ["info --stats none.npz", "check --norm batch", "pack --fast", "report --expdir none"],
)
def test_a_process_ends_with_its_status_and_a_traceback_on_request(here: Path, line: str) -> None:
    word, arguments = command_line(line)
    command = [sys.executable, "-m", f"featnorm_se.bin.{word}", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("featnorm_se: error: ")
    loud = subprocess.run([*command, "--debug"], capture_output=True, text=True, check=False)
    assert loud.returncode == 1 and loud.stderr.startswith("Traceback")


RECIPES = Path(__file__).parents[1] / "egs"
SHELL_CASES = [
    ("mini/enh1/run.sh --copies two", "--copies is 'two'"),
    ("mini/enh1/run.sh --allow_pipes maybe", "--allow_pipes is 'maybe'"),
    ("mini/enh1/run.sh --skip_gate 1", "--skip_gate is '1'"),
    ("mini/enh1/run.sh --expdir 'a b'", "--expdir 'a b'"),
    ("mini/enh1/run.sh --dumpdir '$(touch ran)'", "--dumpdir '$(touch ran)'"),
    ("mini/enh1/run.sh --tag 'a;touch ran'", "--tag 'a;touch ran'"),
    ("mini/enh1/run.sh --tag -x", "'-x' cannot be the name of a folder"),
    ("mini/enh1/run.sh --prepare kaldi --stop_stage 1", "stage 1 needs --db_root"),
    ("mini/enh1/run.sh --prepare kaldi --db_root /none --stop_stage 1", "/none/train"),
    ("mini/enh1/run.sh --valid_speakers", "--valid_speakers needs a value"),
    ("voicebank_demand/enh1/run.sh --db_root /none --stop_stage 1", "no such folder: /none"),
    ("voicebank_demand/enh1/tables.sh --jobs 0", "--jobs is '0'"),
    ("voicebank_demand/enh1/tables.sh --dry_run maybe", "--dry_run is 'maybe'"),
    ("voicebank_demand/enh1/tables.sh --dry_run true --table none", "no such table: none"),
    ("voicebank_demand/enh1/tables.sh --dry_run true --seeds x", "--seeds is 'x'"),
    ("voicebank_demand/enh1/tables.sh --expdir 'a b'", "--expdir 'a b'"),
]


@pytest.mark.parametrize(("line", "told"), SHELL_CASES, ids=[line for line, _ in SHELL_CASES])
def test_a_recipes_bad_option_ends_it_in_one_line(tmp_path: Path, line: str, told: str) -> None:
    script, *options = shlex.split(line)
    places = ["--expdir", str(tmp_path / "exp"), "--datadir", str(tmp_path / "data")]
    if script.endswith("run.sh"):
        places += ["--dumpdir", str(tmp_path / "dump"), "--upstream", "tera_tiny"]
    place = (RECIPES / script).parent
    before = sorted(path.name for path in place.iterdir())
    done = subprocess.run(
        [f"./{Path(script).name}", *places, *options],
        cwd=place,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    lines = [part for part in done.stderr.splitlines() if "error:" in part]
    assert len(lines) == 1 and told in lines[0], done.stderr
    assert not (tmp_path / "exp").exists()
    assert sorted(path.name for path in place.iterdir()) == before
