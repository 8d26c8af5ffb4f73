"""A small world of good files for ``test_bad_inputs.py``, and the ways to spoil one of them."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import yaml
from made_scores import write_scores
from tiny_models import make, save_tiny, training_config

from featnorm_se.data.audio import write_audio
from featnorm_se.metrics.worker import Row
from featnorm_se.report.pack import pack

Spoil = Callable[[], None]  # acts on the current folder


class Payload:
    """Pickles as a call of ``os.system`` that leaves a file: the classic."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.system, (f"touch '{self.mark}'",)


TRAIN = ("p226_001", "p227_001", "p228_001", "p287_001")
TEST = ("p232_001",)


def noise(seconds: float = 0.4, seed: int = 0, rate: int = 16000) -> np.ndarray:
    """Return white noise, float32."""
    draw = np.random.default_rng(seed).standard_normal(int(seconds * rate))
    return (0.1 * draw).astype(np.float32)


def build(root: Path) -> None:
    """Make the world: corpus, data directories, checkpoint, experiment, scores."""
    here = Path.cwd()
    root.mkdir(parents=True, exist_ok=True)
    os.chdir(root)
    try:
        _corpus()
        _lists()
        _models()
        _scores()
    finally:
        os.chdir(here)


def _corpus() -> None:
    for names, part in ((TRAIN, "trainset_28spk"), (TEST, "testset")):
        for kind in ("noisy", "clean"):
            for seed, name in enumerate(names):
                path = f"corpus/{kind}_{part}_wav/{name}.wav"
                write_audio(path, noise(seed=seed + (kind == "noisy")))
    Path("corpus/log_testset.txt").write_text("p232_001 bus 17.5\n")
    write_audio("wavs/a.wav", noise())


def _lists() -> None:
    sets = {"train": TRAIN[1:3], "valid": (TRAIN[0], TRAIN[3]), "test": TEST}
    for part, names in sets.items():
        folder = Path("data", part)
        folder.mkdir(parents=True)
        spoken = "testset" if part == "test" else "trainset_28spk"
        for kind, name in (("noisy", "wav.scp"), ("clean", "spk1.scp")):
            lines = [f"{n} corpus/{kind}_{spoken}_wav/{n}.wav\n" for n in names]
            (folder / name).write_text("".join(lines))
        (folder / "utt2spk").write_text("".join(f"{n} {n[:4]}\n" for n in names))
    Path("conf/upstream").mkdir(parents=True)
    Path("conf/train.yaml").write_text(yaml.safe_dump(training_config()))


def _models() -> None:
    save_tiny(Path("exp/tiny"))
    Path("exp/tiny/run.json").write_text(json.dumps({"name": "tiny", "upstream": "tera_tiny"}))
    pack(Path("exp/tiny"), Path("model.zip"))
    make(Path("ckpt"), "tera_tiny")


def _scores() -> None:
    for name in ("noisy", "tiny"):
        write_scores(Path("exp", name), [Row("p232_001", {"SI_SDR": 1.5})])


def tree(folder: Path = Path()) -> dict[str, str]:
    """Return the hash of every file below a folder, the current one if none is given.

    Locks are left out, and what stage 1 has resampled: a later call goes on from there.
    """
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith(".lock") and "wav16k" not in path.parts
    }


# ---- ways to spoil the world ----


def put(path: str, content: str) -> Spoil:
    """Write a file's whole content."""

    def spoil() -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(content)

    return spoil


def wav(path: str, samples: Any = None, rate: int = 16000, subtype: str = "PCM_16") -> Spoil:
    """Write another recording in the place of one that is there."""
    return lambda: soundfile.write(path, noise() if samples is None else samples, rate, subtype)


def nothing() -> None:
    """Leave all as it is: the command line is what is bad."""
