"""The stages of egs/mini/enh1 at a size of seconds: their corpus and their commands."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import soundfile

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
RECIPE = ROOT / "egs" / "mini" / "enh1"
STAGES = (1, 2, 3, 4, 5)
METRICS = ("SI_SDR",)
_RATE = 16000
_CONFIG = """\
encoder: stft
encoder_conf: &stft {n_fft: 512, win_length: 400, hop_length: 160}
decoder: stft
decoder_conf: *stft
separator_conf: {use_spectrum: true, layers: 1, units: 16, dropout: 0.1}
criterions:
- {name: log1p_l1, conf: {scale: 20.0}, wrapper: fixed_order, wrapper_conf: {weight: 1.0}}
optim: adam
optim_conf: {lr: 1.0e-3}
scheduler: warmuplr
scheduler_conf: {warmup_steps: 10}
grad_clip: 5.0
max_epoch: 4
patience: 3
best_model_criterion: [[valid, loss, min]]
keep_nbest_models: 2
iterator_type: chunk
chunk_length: 8000
chunk_shift_ratio: 0.5
chunk_discard_short_samples: false
num_cache_chunks: 16
batch_size: 4
valid_iterator_type: sequence
valid_batch_type: sorted
valid_batch_size: 2
num_workers: 1
log_interval: 5
use_tensorboard: true
use_matplotlib: false
"""

Command = tuple[str, list[str]]


def make_sources(folder: Path) -> None:
    """Write what stage 1 starts from: speech-like and noise recordings, and ``tiny.yaml``."""
    rng = np.random.default_rng(0)
    for speaker in range(6):
        for number in range(2):
            path = folder / "speech" / f"s{speaker}" / f"u{number}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, _voice(rng, 90 + 30 * speaker), _RATE, subtype="PCM_16")
    for number in range(4):
        path = folder / "noise" / f"n{number}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.convolve(rng.normal(size=3 * _RATE), rng.normal(size=8), "same")
        soundfile.write(path, 0.1 * noise / np.abs(noise).max(), _RATE, subtype="PCM_16")
    (folder / "tiny.yaml").write_text(_CONFIG, encoding="utf-8")


def _voice(rng: np.random.Generator, pitch: float) -> np.ndarray:
    """Return harmonics in syllables, about 1.5 s."""
    time = np.arange(int(rng.uniform(1.2, 1.8) * _RATE)) / _RATE
    tones = [np.sin(2 * np.pi * k * pitch * time + rng.uniform(0, 6)) / k for k in range(1, 20)]
    syllables = np.clip(np.sin(2 * np.pi * rng.uniform(2, 4) * time), 0, None)
    return 0.2 * sum(tones) * syllables / 3 + 1e-4 * rng.normal(size=len(time))


def recipe_command(stage: int, source: Path, disk: Path) -> list[str]:
    """Return the ``run.sh`` line of one stage, to be run in ``RECIPE``."""
    return [
        *("./run.sh", "--stage", f"{stage}", "--stop_stage", f"{stage}"),
        *("--upstream", "tera_tiny", "--config", f"{source}/tiny.yaml", "--copies", "1"),
        *("--speech_root", f"{source}/speech", "--noise_root", f"{source}/noise"),
        *("--expdir", f"{disk}/exp", "--datadir", f"{disk}/data", "--dumpdir", f"{disk}/dump"),
        *("--tag", "tiny", "--metrics", " ".join(METRICS)),
    ]


def main_commands(stage: int, source: Path, disk: Path) -> list[Command]:
    """Return the (module, arguments) that ``run.sh`` calls in one stage, in its order."""
    data, dump, exp = disk / "data", disk / "dump", disk / "exp"
    upstream = ["--upstream", "tera_tiny", "--upstream_ckpt", "scratch"]
    upstream += ["--norm_site", "auto", "--seed", "0"]
    return {1: _prepare, 2: _collect, 3: _train, 4: _enhance, 5: _report}[stage](
        source, data, dump, exp, upstream
    )


def _prepare(source: Path, data: Path, dump: Path, exp: Path, upstream: list[str]) -> list[Command]:
    corpus = ["--speech_root", f"{source}/speech", "--noise_root", f"{source}/noise"]
    return [
        ("make_mini", ["--output", f"{dump}/mini", "--nj", "1", *corpus]),
        (
            "prepare",
            [
                *("--corpus", "mini", "--db_root", f"{dump}/mini", "--output", f"{data}"),
                *("--wav_dir", f"{dump}/wav16k", "--nj", "1"),
            ],
        ),
    ]


def _collect(source: Path, data: Path, dump: Path, exp: Path, upstream: list[str]) -> list[Command]:
    parts = [f"{dump}/stats/clean.{number}.npz" for number in (1, 2)]
    shards: list[Command] = [
        (
            "collect_stats",
            [
                *upstream,
                *("--kind", "clean", "--wav_scp", f"{data}/train/spk1.scp"),
                *("--shard", f"{number}/2", "--output", part),
            ],
        )
        for number, part in enumerate(parts, start=1)
    ]
    return [
        *shards,
        ("collect_stats", ["--merge", *parts, "--output", f"{dump}/stats/clean.npz"]),
    ]


def _train(source: Path, data: Path, dump: Path, exp: Path, upstream: list[str]) -> list[Command]:
    return [
        (
            "train",
            [
                *upstream,
                *("--norm", "utterance", "--config", f"{source}/tiny.yaml"),
                *("--expdir", f"{exp}/tiny", "--train_dir", f"{data}/train"),
                *("--valid_dir", f"{data}/valid", "--command", "./run.sh"),
                *("--clean_stats", f"{dump}/stats/clean.npz"),
            ],
        )
    ]


def _enhance(source: Path, data: Path, dump: Path, exp: Path, upstream: list[str]) -> list[Command]:
    enhanced = exp / "tiny" / "enhanced_test"
    options = ["--model", f"{exp}/tiny", "--wav_scp", f"{data}/test/wav.scp"]
    options += ["--output", f"{enhanced}"]
    scored = [
        (f"{data}/test/wav.scp", f"{exp}/noisy/scores_test"),
        (f"{enhanced}/spk1.scp", f"{exp}/tiny/scores_test"),
    ]
    scoring: list[Command] = [
        (
            "score",
            [
                *("--ref", f"{data}/test/spk1.scp", "--inf", listed, "--output", output),
                *("--nj", "1", "--utt2cond", f"{data}/test/utt2cond", "--metrics", *METRICS),
            ],
        )
        for listed, output in scored
    ]
    return [
        *[("enhance_set", [*options, "--shard", f"{number}/2"]) for number in (1, 2)],
        ("enhance_set", [*options, "--list"]),
        *scoring,
    ]


def _report(source: Path, data: Path, dump: Path, exp: Path, upstream: list[str]) -> list[Command]:
    folder = exp.parent
    return [
        ("drift", ["--expdir", f"{exp}/tiny", "--datadir", f"{data}/valid"]),
        (
            "report",
            [
                *("--expdir", f"{exp}", "--output", f"{folder}/RESULTS.md"),
                *("--html", f"{folder}/report/index.html", "--datadir", f"{data}"),
            ],
        ),
    ]


_NEEDS = {
    1: ("featnorm_se.data.mini", "featnorm_se.data.voicebank_demand"),
    2: ("featnorm_se.collection", "featnorm_se.upstream"),
    3: ("torch.utils.tensorboard", "espnet2.tasks.enh", "featnorm_se.enhancement.task"),
    4: ("featnorm_se.enhancement.inference", "featnorm_se.metrics.scoring"),
    5: ("matplotlib.pyplot", "featnorm_se.report.features", "featnorm_se.report.page"),
}


def preload(last: int) -> None:
    """Import what the stages up to ``last`` need, so that a fork of this process starts at once."""
    for stage in range(1, last + 1):
        modules = [
            f"featnorm_se.bin.{module}" for module, _ in main_commands(stage, Path(), Path())
        ]
        for name in (*_NEEDS[stage], *modules):
            importlib.import_module(name)


def run_commands(commands: Sequence[Command]) -> int:
    """Run the commands in this process, up to the first that fails; return its status."""
    from featnorm_se.bin import run

    for module, arguments in commands:
        main: Callable[[Sequence[str]], None] = importlib.import_module(
            f"featnorm_se.bin.{module}"
        ).main
        status = run(main, arguments)
        if status:
            return status
    return 0
