"""A table of bad inputs: each ends with one line that names the culprit, and touches nothing.

A case is one line of ``CASES``: its name, the command, what is spoiled, and words that the line
must hold. The command is a word of ``COMMANDS`` and more options; they come after the command's
own, so they count. ``= `` in front of them puts them in the place of all of its own.
"""

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
from bad_inputs_world import noise, nothing, put, wav
from recipe_runs import EGS, run_script

from featnorm_se.bin import run

COMMANDS = {
    "prepare": "--db_root corpus --output out/data --nj 1",
    "collect_stats": "--output out/x.npz --wav_scp data/train/spk1.scp --upstream tera_tiny"
    " --upstream_ckpt scratch",
    "train": "--expdir out/exp --config conf/train.yaml --train_dir data/train"
    " --valid_dir data/valid --upstream tera_tiny --upstream_ckpt scratch",
    "enhance": "wavs/a.wav -o out/a.wav --model model.zip",
    "enhance_set": "--model exp/tiny --wav_scp data/test/wav.scp --output out/enhanced",
    "pack": "exp/tiny out/model.zip",
    "report": "--expdir exp --output out/RESULTS.md",
    "info": "--upstream tera_tiny --upstream_ckpt scratch",
}

CKPT, WAV = "ckpt/tera_tiny.pt", "wavs/a.wav"
CLEAN = "corpus/clean_trainset_28spk_wav/p227_001.wav"
NOISY = "corpus/noisy_testset_wav/p232_001.wav"
KALDI = "prepare --corpus kaldi --db_root data"
SCP = "data/test/wav.scp"

# fmt: off
CASES = [
    # --- lists (scp) ---
    ("scp: a key twice", "enhance_set", put(SCP, "a x\na y\n"), "line 2", "'a' comes twice"),
    ("scp: a key that leads out", "enhance_set", put(SCP, "../../a x\n"), "'../../a' leads out"),
    ("scp: a command", "enhance_set", put(SCP, "a touch ran |\n"), "touch ran |", "not run here"),
    # --- data directories ---
    ("train: twins differ", "train", wav(CLEAN, noise(0.1)), "p227_001", "6400 samples", "1600"),
    ("train: rate", "train", wav(CLEAN, noise(rate=8000), 8000), "3200 samples at 8000 Hz",
     "at 16000 Hz is wanted"),
    ("train: a twin is missing", "train", put("data/valid/spk1.scp", f"p226_001 {WAV}\n"),
     "p287_001 is in data/valid/wav.scp only"),
    ("kaldi: a twin is missing", KALDI, put("data/valid/spk1.scp", f"p226_001 {WAV}\n"),
     "p287_001", "has no clean twin"),
    ("kaldi: half of the second talkers", KALDI,
     put("data/train/spk2.scp", f"p227_001 {WAV}\n"), "data/train/spk2.scp", "p228_001"),
    ("kaldi: other second talkers", KALDI, put("data/train/spk2.scp", f"other {WAV}\n"),
     "data/train/spk2.scp", "other"),
    ("kaldi: second talkers of one set", KALDI, put("data/test/spk2.scp", f"p232_001 {WAV}\n"),
     "data/train/spk2.scp"),
    # --- corpora ---
    ("corpus: other length", "prepare", wav(CLEAN, noise(0.42)), "p227_001: other length"),
    ("corpus: low rate", "prepare", wav(CLEAN, noise(rate=8000), 8000),
     "p227_001.wav is sampled at 8000 Hz"),
    ("corpus: a name twice", "prepare", wav(CLEAN.replace("wav/p227_001.wav", "wav/p227_001.flac")),
     "the name p227_001 comes twice"),
    ("corpus: no such speaker", "prepare --valid_speakers 'p226 p999'", nothing,
     "p999 cannot validate"),
    ("corpus: NaN", "prepare", wav(NOISY, np.full(6400, np.nan), subtype="FLOAT"), "p232_001",
     "NaN"),
    # --- audio to enhance ---
    ("audio: over itself", f"enhance = {WAV} -o {WAV} --model model.zip", nothing, "over itself"),
    ("set: a key", "enhance_set --config x.yaml", put("x.yaml", "fs: 8000"), "x.yaml: Key 'fs'"),
    ("set: a variable", "enhance_set --config x.yaml", put("x.yaml", "model_file: ${oc.env:HOME}"),
     "holds no ${oc.env:HOME"),
    ("set: rate", "enhance_set", wav(NOISY, noise(rate=8000), 8000), "8000 Hz", "run stage 1"),
    # --- statistics ---
    ("stats: not used", "train --norm none --clean_stats x.npz", nothing, "leave it out"),
    # --- configuration ---
    ("norm: corpus twice", "train --norm corpus --norm_site projection,layer.2", nothing,
     "norm corpus at projection, layer.2", "name one site"),
    ("config: a second STFT", "train --norm none --set separator_conf.n_fft=1024", nothing,
     "separator_conf.n_fft is 1024, not"),
    ("config: nothing to freeze", "train --norm none --set separator_conf.freeze=cnn", nothing,
     "the family tera has no convolutions to freeze"),
    ("config: no key of ESPnet", "train --set nonsense=1", nothing, "conf/train.yaml", "nonsense"),
    ("config: loads a file", "train --set init_param=[x.pth]", nothing, "init_param", "run code"),
]
# fmt: on


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


INFO = (
    "info",
    "info = --upstream tera_tiny",
    f"info = --upstream tera_tiny --upstream_ckpt {CKPT}",
)


@pytest.mark.parametrize("line", ["collect_stats", "enhance_set", "pack", "report", *INFO])
def test_the_same_command_on_good_files_ends_well(here: Path, line: str, capsys) -> None:
    word, arguments = command_line(line)
    assert run(import_module(f"featnorm_se.bin.{word}").main, arguments) == 0
    assert "error" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "spoil", "words"), [pytest.param(c[1], c[2], c[3:], id=c[0]) for c in CASES]
)
def test_one_line_names_the_culprit_and_touches_nothing(
    here, line, spoil, words, capsys, monkeypatch
):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    spoil()
    before = world.tree()
    word, arguments = command_line(line)
    main = import_module(f"featnorm_se.bin.{word}").main
    assert run(main, arguments) != 0
    lines = capsys.readouterr().err.splitlines()
    errors = [line for line in lines if "error:" in line]
    assert len(errors) == 1 and errors[0] == lines[-1], lines
    assert errors[0].startswith("featnorm_se: error: ") and len(errors[0]) < 1000
    assert [part for part in words if part not in errors[0]] == [], errors[0]
    assert world.tree() == before
    with pytest.raises(Exception):  # noqa: B017 (whatever it is, it is not swallowed)
        run(main, [*arguments, "--debug"])


def test_a_process_ends_with_its_status_and_a_traceback_on_request(here: Path) -> None:
    word, arguments = command_line("pack --fast")
    command = [sys.executable, "-m", f"featnorm_se.bin.{word}", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("featnorm_se: error: ")
    loud = subprocess.run([*command, "--debug"], capture_output=True, text=True, check=False)
    assert loud.returncode == 1 and loud.stderr.startswith("Traceback")


SHELL_CASES = [
    ("mini/enh1/run.sh --tag 'a;touch ran'", "--tag 'a;touch ran'"),
    ("mini/enh1/run.sh --tag '`touch ran`'", "--tag '`touch ran`'"),
    ("mini/enh1/run.sh --upstream '$(touch ran)'", "$(touch ran)"),
    ("mini/enh1/run.sh --foo 1", "unknown option --foo; ./run.sh --help lists them all"),
    ("mini/enh1/run.sh --seed=3", "--seed=3: options are --name value, without ="),
    ("mini/enh1/run.sh --seed --stage 3", "--seed needs a value"),
    ("mini/enh1/run.sh --db_root corpus", "--prepare mini takes --speech_root"),
    ("voicebank_demand/enh1/run.sh --noise_root .", "are for --prepare mini"),
    ("mini/enh1/run.sh --tag ../up", "'../up' cannot be the name of a folder"),
    ("mini/enh1/run.sh --tag ../up --tag noisy", "'noisy' cannot be the name of a folder"),
    ("mini/ssl1/run.sh --tag a/b", "'a/b' cannot be the name of a folder"),
    ("voicebank_demand/enh1/tables.sh --upstream tera --dry_run true", "of several upstreams"),
    ("voicebank_demand/enh1/tables.sh -- --ngpu 1", "--ngpu goes before --"),
    ("voicebank_demand/enh1/tables.sh -- --norm none", "--norm after --: the rows"),
    ("voicebank_demand/enh1/tables.sh -- --norm-site last", "--norm_site after --: the rows"),
    ("mini/enh1/run.sh --mix clean", "--mix clean is for --num_spk 2"),
    ("mini/enh1/run.sh --datadir ''", "--datadir is empty: a variable that is not set?"),
    ("mini/enh1/run.sh --expdir ''", "--expdir is empty: a variable that is not set?"),
    ("mini/enh1/run.sh --init run.sh", "run.sh is no packed model"),
    ("mini/enh1/run.sh --init conf", "conf holds no valid.loss.best.pth"),
    ("mini/enh1/run.sh --init conf --norm none", "--norm none: leave it out, --init conf has it"),
    ("mini/enh1/run.sh --init ''", "--init is empty: a variable that is not set?"),
    ("mini/enh1/run.sh --stage 3 --set separator_conf.freze=all", "no separator_conf.freze"),
    # Of several --set each counts, of several --tag the last.
    ("mini/enh1/run.sh --set optim_conf.lrr=1 --set max_epoch=1", "there is no optim_conf.lrr"),
]


@pytest.mark.parametrize(("line", "told"), SHELL_CASES, ids=[line for line, _ in SHELL_CASES])
def test_a_recipes_bad_option_ends_it_in_one_line(tmp_path: Path, line: str, told: str) -> None:
    script, *options = shlex.split(line)
    places = ["--expdir", str(tmp_path / "exp")]
    if "ssl1" not in script:
        places += ["--datadir", str(tmp_path / "data")]
    if script.endswith("enh1/run.sh"):
        places += ["--dumpdir", str(tmp_path / "dump")]
        places += [] if "--init" in options else ["--upstream", "tera_tiny"]
    place = (EGS / script).parent
    before = sorted(path.name for path in place.iterdir())
    done = run_script(script, *places, *options)
    assert done.returncode != 0
    lines = [part for part in done.stderr.splitlines() if "error:" in part]
    assert len(lines) == 1 and told in lines[0], done.stderr
    assert "flash_attn" not in done.stdout + done.stderr  # ESPnet prints it, of nobody's interest
    assert not (tmp_path / "exp").exists()
    assert sorted(path.name for path in place.iterdir()) == before


CONF = EGS / "voicebank_demand" / "enh1" / "conf"


def check(config: Path, *options: str) -> int:
    """Hold a training configuration against what trains, as run.sh does before any stage."""
    return run(import_module("check_config").main, ["--config", str(config), *options])


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("separator_conf.unit=3", "there is no separator_conf.unit"),
        ("optim_conf.lrr=1", "there is no optim_conf.lrr"),
        ("separator_conf.num_spk=1", "separator_conf.num_spk is 1, --num_spk 2: they must"),
        ("separator_conf.freeze=some", "freeze is none, cnn or all, not 'some'"),
        ("separator_conf.use_spectrum='false'", "use_spectrum 'false' is a text: write no quotes"),
        ("separator_conf.bf16='false'", "bf16 'false' is a text"),
        ("train_dtype=float64", "train_dtype 'float64': there is separator_conf.precision"),
        ("best_model_criterion=[[valid,pesq,max]]", "valid pesq max is never reported"),
        ("keep_nbest_models=0", "keep_nbest_models 0: 1 or more is wanted"),
        ("noise_scp=x.scp", "noise_scp does nothing without a preprocessor"),
        ("noise_db_range=5_20", "noise_db_range 520: a text is wanted, such as '5_20'"),
        ("preprocessor=enh noise_scp=no.scp", "no such file: no.scp"),
        ("freeze_param=[separator.hed]", "freeze_param 'separator.hed': no weight"),
        ("criterions.name=l1", "set a list as a whole"),
        (
            "val_scheduler_criterion=[valid,si_snr] best_model_criterion=[[valid,si_snr,max]]",
            "higher si_snr is better",
        ),
        # A step up the loss, or none at all.
        ("grad_clip=-1", "grad_clip -1: above 0 is wanted"),
        ("grad_clip=0", "grad_clip 0: above 0 is wanted"),
        ("upstream_lr_scale=-1", "upstream_lr_scale -1: 0 or more"),
    ],
)
def test_a_wrong_setting_is_told_before_any_stage(setting: str, told: str, capsys) -> None:
    config = EGS / "libri2mix" / "sep1" / "conf" / "separate.yaml"
    words = [word for one in setting.split() for word in ("--set", one)]
    assert check(config, "--num_spk", "2", *words) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line


def test_norms_that_would_not_do_what_they_say_are_told_before_training(capsys) -> None:
    options = ["--upstream", "wavlm", "--num_spk", "1", "--norm_site", "frontend,last"]
    above = ["--norm", "utterance", "--set", "separator_conf.feature=layer.6"]
    assert check(CONF / "train.yaml", *options, *above) == 1
    assert "layer.12 lies above" in capsys.readouterr().err
    assert check(CONF / "train.yaml", *options, "--norm", "corpus") == 1
    assert "name one site" in capsys.readouterr().err
    # A finished model is scored.
    assert run(import_module("check_config").main, [*options, "--norm", "corpus"]) == 0


FOLDER = Path(__file__).parent / "upstream" / "huggingface" / "hubert_base"  # of two layers


@pytest.mark.parametrize(
    ("name", "checkpoint", "feature", "site"),
    [
        ("hubert", FOLDER, "layer.2", "last"),
        ("hubert_tiny", "any.pt", "layer.4", "last"),  # the file says how many, not the card
        ("hubert_tiny", "any.pt", "last", "layer.6,last"),
        ("mockingjay", "any.pt", "last", "auto,projection"),  # which its weights decide
    ],
)
def test_sites_that_only_the_weights_know_are_not_refused(
    name, checkpoint, feature, site, tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("any.pt").touch()
    options = ["--upstream", name, "--upstream_ckpt", str(checkpoint), "--num_spk", "1"]
    options += ["--norm", "utterance", "--norm_site", site]
    assert check(CONF / "train.yaml", *options, "--set", f"separator_conf.feature={feature}") == 0


SI_SNR = "[valid,si_snr,max]"
# Of training, and not what the recipes link to, which has its base beside the link.
OWN = [
    path
    for path in sorted(EGS.glob("[!T]*/*1/conf/*.yaml"))
    if "ssl1" not in str(path) and re.search("^(max_epoch|base):", path.read_text(), re.MULTILINE)
]
RIGHT = [
    *(("", path) for path in OWN),
    (f"best_model_criterion=[{SI_SNR}] early_stopping_criterion={SI_SNR}", "train"),
    ("grad_clip=.inf separator_conf.norm_site=layer.12 separator_conf.use_spectrum=0", "train"),
    ("separator_conf.feature=layer.6", "train"),
    ("scheduler=onecyclelr scheduler_conf.max_lr=1 scheduler_conf.total_steps=9", "train"),
    ("best_model_criterion=[[valid,compressed_spectrum,min]]", "finetune"),
    ("encoder_conf.n_fft=256 encoder_conf.win_length=256 encoder_conf.hop_length=128", "finetune"),
    ("encoder_conf.n_fft=512", "finetune"),
]


@pytest.mark.parametrize(("settings", "config"), RIGHT)
def test_what_trains_is_not_refused_before(settings: str, config: Path | str, capsys) -> None:
    """The recipes' own configurations, and what only a run itself can know."""
    path = config if isinstance(config, Path) else CONF / f"{config}.yaml"
    words = [word for part in settings.split() for word in ("--set", part)]
    if path.name != "finetune.yaml":
        two = re.search("num_spk: 2|base: separate", path.read_text())
        words += ["--num_spk", "2" if two else "1"]
    words += ["--inference_config", str(CONF / "decode.yaml")]
    assert check(path, *words) == 0, capsys.readouterr().err
