"""Time and peak memory of enhancing one file: ours beside ESPnet's SeparateSpeech.

The same model, the same file, each in a process of its own, in turn. On a busy machine look at
the CPU time and not at the seconds.

    python tools/benchmarks/enhance_file.py --upstream wavlm --seconds 60
    python tools/benchmarks/enhance_file.py --model exp/... --seconds 600 --only ours
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

STFT = {"n_fft": 512, "hop_length": 160, "win_length": 400}


def get_parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="experiment's folder (default: random weights)")
    parser.add_argument("--upstream", default="wavlm", help="of the model with random weights")
    parser.add_argument("--norm", default="utterance", help="of the model with random weights")
    parser.add_argument("--seconds", type=float, default=60.0, help="length of the file")
    parser.add_argument("--rate", type=int, default=16000, help="of the file, in Hz")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--repeat", type=int, default=1, help="rounds; the least time counts")
    parser.add_argument("--only", choices=["ours", "espnet"], help="one side only")
    parser.add_argument("--stats", default="file", help="file or window")
    parser.add_argument("--bf16", action="store_true", help="ours in bfloat16")
    parser.add_argument("--worker", nargs=2, metavar=("SIDE", "FILE"), help=argparse.SUPPRESS)
    return parser


def main() -> None:
    """Run each side in its own process and print the table."""
    args = get_parser().parse_args()
    if args.worker:
        print(json.dumps(work(args.worker[0], args.worker[1], args)))
        return
    with tempfile.TemporaryDirectory() as folder:
        if args.model is None:
            args.model = str(random_model(Path(folder) / "exp", args.upstream, args.norm))
        source = Path(folder) / "noisy.wav"
        write_noise(source, args.seconds, args.rate)
        sides = [args.only] if args.only else ["ours", "espnet"]
        rows: dict[str, dict[str, float]] = {}
        for _ in range(args.repeat):
            for side in sides:
                row = start(side, source, args)
                if side not in rows or row["seconds"] < rows[side]["seconds"]:
                    rows[side] = row
    show(rows, args)


def start(side: str, source: Path, args: argparse.Namespace) -> dict[str, float]:
    """Run one side in a process of its own."""
    command = [sys.executable, __file__, "--model", args.model, "--stats", args.stats]
    command += ["--worker", side, str(source)] + (["--bf16"] if args.bf16 else [])
    threads = {f"{name}_NUM_THREADS": str(args.threads) for name in ("OMP", "MKL")}
    done = subprocess.run(
        command, env={**os.environ, **threads}, stdout=subprocess.PIPE, text=True, check=True
    )
    row: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return row


def work(side: str, file: str, args: argparse.Namespace) -> dict[str, float]:
    """Enhance the file; what is timed is reading, enhancing and writing, not loading the model."""
    source, target = Path(file), Path(file).with_name(f"{side}.wav")
    model = Path(args.model)
    if side == "ours":
        from featnorm_se.enhancement.audio_file import enhance_file
        from featnorm_se.enhancement.audio_stream import AudioInput
        from featnorm_se.enhancement.enhancer import Enhancer
        from featnorm_se.enhancement.longform import Windowing

        enhancer = Enhancer.from_pretrained(model, bf16=args.bf16)
        began, busy = time.perf_counter(), time.process_time()
        enhance_file(enhancer, AudioInput(source), target, windowing=Windowing(stats=args.stats))
    else:
        import soundfile
        from espnet2.bin.enh_inference import SeparateSpeech

        from featnorm_se.enhancement.task import register

        register()
        stock: Any = SeparateSpeech(str(model / "config.yaml"), str(weights(model)))
        began, busy = time.perf_counter(), time.process_time()
        noisy, rate = soundfile.read(source, dtype="float32")
        (enhanced,) = stock(noisy[None], fs=rate)
        soundfile.write(target, enhanced[0], rate)
    seconds = time.perf_counter() - began
    return {
        "seconds": seconds,
        "cpu": time.process_time() - busy,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def weights(model: Path) -> Path:
    """The weights' file of an experiment."""
    from featnorm_se.enhancement.loading import find_weights

    return find_weights(model)


def random_model(folder: Path, upstream: str, norm: str) -> Path:
    """Write an experiment's folder with random weights, in the size of a real one."""
    import torch
    import yaml

    from featnorm_se.enhancement.separator import FeatNormSeparator

    config = {
        "encoder": "stft",
        "encoder_conf": dict(STFT),
        "separator": "featnorm",
        "separator_conf": {"upstream": upstream, "norm": norm, **STFT},
        "decoder": "stft",
        "decoder_conf": dict(STFT),
        "criterions": [
            {"name": "log1p_l1", "conf": {}, "wrapper": "fixed_order", "wrapper_conf": {}}
        ],
        "model_conf": {},
        "init": None,
    }
    separator = FeatNormSeparator(STFT["n_fft"] // 2 + 1, **config["separator_conf"])  # type: ignore[arg-type]
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    state = {f"separator.{key}": value for key, value in separator.state_dict().items()}
    torch.save(state, folder / "valid.loss.best.pth")
    return folder


def write_noise(path: Path, seconds: float, rate: int) -> None:
    """Write noise, a second at a time."""
    import numpy as np
    import soundfile

    rng = np.random.default_rng(0)
    with soundfile.SoundFile(path, "w", rate, 1) as handle:
        left = round(seconds * rate)
        while left:
            part = min(left, rate)
            handle.write(rng.normal(size=part).clip(-5, 5) * 0.1)
            left -= part


def show(rows: dict[str, dict[str, float]], args: argparse.Namespace) -> None:
    """Print the table and the ratios."""
    print(f"\n{args.seconds:g} s at {args.rate} Hz, {args.threads} threads, stats {args.stats}")
    print(f"{'':8}{'seconds':>10}{'x real time':>13}{'CPU s':>8}{'peak MiB':>10}")
    for side, row in rows.items():
        speed = args.seconds / row["seconds"]
        print(
            f"{side:8}{row['seconds']:10.2f}{speed:13.2f}{row['cpu']:8.1f}{row['peak_mib']:10.0f}"
        )
    if len(rows) == 2:
        ours, theirs = rows["ours"], rows["espnet"]
        print(
            f"ours / espnet: time {ours['seconds'] / theirs['seconds']:.2f},"
            f" CPU time {ours['cpu'] / theirs['cpu']:.2f},"
            f" peak memory {ours['peak_mib'] / theirs['peak_mib']:.2f}"
        )


if __name__ == "__main__":
    main()
