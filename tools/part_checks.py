"""The checks of tools/check_install.py: each uses one part and says what it saw, or raises."""

import importlib.metadata
import io
import subprocess
import sys
import tempfile
from pathlib import Path

TOOLS = Path(__file__).resolve().parent


class BrokenError(Exception):
    """A part answers, but not as it must."""


def check_python() -> str:
    """The interpreter's version."""
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        raise BrokenError(f"Python {sys.version.split()[0]}, but 3.11, 3.12 or 3.13 is needed")
    return f"Python {sys.version.split()[0]} in {sys.prefix}"


def check_numpy() -> str:
    """Older ESPnets' chunk iterator crashes with numpy 2.4."""
    import numpy

    version = tuple(int(n) for n in numpy.__version__.split(".")[:2])
    espnet = int(importlib.metadata.version("espnet")[:6])
    if version < (2, 0) or (version >= (2, 4) and espnet <= 202511):
        raise BrokenError(
            f"numpy {numpy.__version__} with ESPnet {espnet}, which needs numpy >=2.0,<2.4"
        )
    return f"fits ESPnet {espnet}"


def check_torch() -> str:
    """A product of two matrices."""
    import torch

    if (torch.ones(2, 3) @ torch.ones(3, 2)).sum().item() != 12.0:
        raise BrokenError("a matrix product is wrong")
    return f"GPUs: {torch.cuda.device_count()}, CUDA build: {torch.version.cuda or 'no'}"


def check_torchaudio() -> str:
    """Resampling, which must work with or without the compiled extension."""
    import torch
    import torchaudio

    length = torchaudio.functional.resample(torch.zeros(1, 4800), 48000, 16000).shape[1]
    if length != 1600:
        raise BrokenError(f"4800 samples at 48 kHz became {length} at 16 kHz")
    return "resamples"


def check_espnet() -> str:
    """ESPnet's enhancement task, with its stock inference and scoring."""
    import espnet2.bin.enh_inference
    import espnet2.bin.enh_scoring
    import espnet2.tasks.enh

    return f"enhancement task, {len(espnet2.tasks.enh.separator_choices.classes)} separators"


def check_s3prl() -> str:
    """The experts of both families, and that only one distribution owns the name s3prl."""
    names = {(d.metadata["Name"] or "").lower() for d in importlib.metadata.distributions()}
    if "s3prl" in names:
        raise BrokenError(
            "the distribution s3prl is installed beside espnet-s3prl: both are imported as s3prl"
        )
    import s3prl.upstream.tera.expert
    import s3prl.upstream.wavlm.expert  # noqa: F401

    return "TERA's and WavLM's experts import"


def speech_like() -> tuple[object, object]:
    """Two seconds of noise bursts at 16 kHz, clean and noisy: enough of speech to score."""
    import numpy as np

    rng = np.random.default_rng(0)
    clean = rng.standard_normal(32000) * (np.sin(np.arange(32000) / 1600) > 0) * 0.1
    return clean, clean + 0.02 * rng.standard_normal(32000)


def check_pesq() -> str:
    """A wide-band score."""
    import pesq

    clean, noisy = speech_like()
    return f"scores: PESQ_WB {in_range(pesq.pesq(16000, clean, noisy, 'wb'), 1.0, 4.65):.2f}"


def check_pystoi() -> str:
    """A score."""
    import pystoi

    clean, noisy = speech_like()
    return f"scores: STOI {in_range(pystoi.stoi(clean, noisy, 16000), 0.0, 1.0):.2f}"


def in_range(value: float, low: float, high: float) -> float:
    """Return ``value``, or raise when it is no possible score."""
    if not low <= value <= high:
        raise BrokenError(f"a score of {value} is outside {low} to {high}")
    return float(value)


def check_soundfile() -> str:
    """FLAC out and in again."""
    import numpy as np
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, np.linspace(-0.5, 0.5, 1600), 16000, format="FLAC")
    buffer.seek(0)
    samples, rate = soundfile.read(buffer)
    if rate != 16000 or len(samples) != 1600:
        raise BrokenError("a FLAC file did not come back as it was written")
    return f"FLAC in and out, {soundfile.__libsndfile_version__}"


def check_matplotlib() -> str:
    """A plot without a display."""
    from matplotlib.figure import Figure

    figure, buffer = Figure(), io.BytesIO()
    figure.add_subplot().plot([0, 1])
    figure.savefig(buffer, format="png")
    return f"draws ({len(buffer.getvalue())} bytes of PNG)"


def check_tensorboard() -> str:
    """Writes an event file, as ESPnet's trainer does."""
    from torch.utils.tensorboard import SummaryWriter

    with tempfile.TemporaryDirectory() as folder:
        with SummaryWriter(folder) as writer:
            writer.add_scalar("loss", 1.0, 1)
        if not list(Path(folder).glob("events.*")):
            raise BrokenError("no event file was written")
    return "writes events"


def check_utils() -> str:
    """run.pl runs a command and parse_options.sh is there."""
    utils = TOOLS / "utils"
    if not (utils / "parse_options.sh").is_file():
        raise BrokenError(f"{utils}/parse_options.sh is missing")
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "a.log"
        subprocess.run(
            [str(utils / "run.pl"), str(log), "echo", "it", "ran"], check=True, capture_output=True
        )
        if "it ran" not in log.read_text(encoding="utf-8"):
            raise BrokenError("run.pl did not run a command")
    return f"run.pl runs; {utils.resolve().relative_to(TOOLS)}"


def check_featnorm_se() -> str:
    """The package comes from this checkout."""
    import featnorm_se

    where = Path(featnorm_se.__file__ or "").resolve().parents[1]
    if where != TOOLS.parent:
        raise BrokenError(f"featnorm_se is taken from {where}, not from this checkout")
    return f"{featnorm_se.__version__}, from this checkout"
