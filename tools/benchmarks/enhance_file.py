"""Time and peak memory of enhancing one file: ours beside ESPnet's SeparateSpeech.

The same model, the same file, each side in a process of its own, in turn; what is timed is
reading, enhancing and writing, and the peak is the whole process's. SeparateSpeech (``espnet``)
takes the whole file at once, which a long file does not allow; with its own ``segment_size``
(``segments``) it takes any. On a busy machine look at the CPU time and not at the seconds.

    python tools/benchmarks/enhance_file.py --seconds 60 --repeat 3
    python tools/benchmarks/enhance_file.py --seconds 600 --sides ours segments --repeat 3
    python tools/benchmarks/enhance_file.py --seconds 3600 --sides ours
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from timing import Cost, print_table

STFT = {"n_fft": 512, "hop_length": 160, "win_length": 400}
SIDES = ("ours", "bf16", "espnet", "segments")
SEGMENT_SECONDS, HOP_SECONDS = 20.0, 17.0  # as our windows are
Row = dict[str, float]


def get_parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--model", help="experiment's folder (default: random weights)")
    add("--upstream", default="wavlm", help="of the model with random weights")
    add("--norm", default="utterance", help="of the model with random weights")
    add("--seconds", type=float, nargs="+", default=[60.0], help="lengths of the files")
    add("--rate", type=int, default=16000, help="of the file, in Hz")
    add("--threads", type=int, default=len(os.sched_getaffinity(0)))
    add("--repeat", type=int, default=1, help="rounds, every side in each; medians are printed")
    add("--sides", choices=SIDES, nargs="+", default=["ours", "espnet"])
    add("--stats", default="file", help="of ours: file or window")
    add("--quick", action="store_true", help="two seconds of a small model, once")
    add("--worker", nargs=2, metavar=("SIDE", "FILE"), help=argparse.SUPPRESS)
    return parser


def main() -> None:
    """Run each side in its own process and print the table."""
    args = get_parser().parse_args()
    if args.quick:
        args.upstream, args.seconds, args.repeat = "tera", [2.0], 1
    if args.worker:
        print(json.dumps(work(args.worker[0], args.worker[1], args)))
        return
    with tempfile.TemporaryDirectory() as folder:
        if args.model is None:
            args.model = str(random_model(Path(folder) / "exp", args.upstream, args.norm))
        source = Path(folder) / "noisy.wav"
        for seconds in args.seconds:
            write_noise(source, seconds, args.rate)
            rounds: dict[str, list[Row]] = {side: [] for side in args.sides}
            for _ in range(args.repeat):
                for side in args.sides:
                    rounds[side].append(start(side, source, args))
            show(rounds, seconds, args)


def start(side: str, source: Path, args: argparse.Namespace) -> Row:
    """Run one side in a process of its own."""
    command = [sys.executable, __file__, "--model", args.model, "--stats", args.stats]
    command += ["--worker", side, str(source)]
    threads = {f"{name}_NUM_THREADS": str(args.threads) for name in ("OMP", "MKL")}
    done = subprocess.run(
        command, env={**os.environ, **threads}, stdout=subprocess.PIPE, text=True, check=True
    )
    row: Row = json.loads(done.stdout.splitlines()[-1])
    return row | {"load": os.getloadavg()[0]}


def work(side: str, file: str, args: argparse.Namespace) -> Row:
    """Enhance the file, and return what it took without loading the model."""
    source, target = Path(file), Path(file).with_name(f"{side}.wav")
    model = Path(args.model)
    if side in ("ours", "bf16"):
        from featnorm_se.inference.enhancer import Enhancer
        from featnorm_se.inference.jobs import Job, enhance_file
        from featnorm_se.inference.windows import Windowing

        enhancer = Enhancer.from_pretrained(model, precision="bf16" if side == "bf16" else "auto")
        began, busy = time.perf_counter(), time.process_time()
        enhance_file(enhancer, Job(source, target), Windowing(stats=args.stats))
    else:
        import soundfile
        from espnet2.bin.enh_inference import SeparateSpeech

        from featnorm_se.training.task import register

        register()
        cut = {"segment_size": SEGMENT_SECONDS, "hop_size": HOP_SECONDS}
        stock: Any = SeparateSpeech(
            str(model / "config.yaml"), str(weights(model)), **(cut if side == "segments" else {})
        )
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
    from featnorm_se.inference.model_file import find_weights

    return find_weights(model)


def random_model(folder: Path, upstream: str, norm: str) -> Path:
    """Write an experiment's folder with random weights, in the size of a real one."""
    import torch
    import yaml

    from featnorm_se.model.separator import FeatNormSeparator

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


def show(rounds: dict[str, list[Row]], seconds: float, args: argparse.Namespace) -> None:
    """Print medians, then ratios to our float32, round by round: median, least and most."""
    rows = {
        side: {key: statistics.median(row[key] for row in found) for key in found[0]}
        for side, found in rounds.items()
    }
    print(f"\n{seconds:g} s at {args.rate} Hz, {args.threads} threads, stats {args.stats}")
    print(f"{'':9}{'seconds':>9}{'x real time':>13}{'CPU s':>9}{'peak MiB':>10}{'load':>7}")
    for side, row in rows.items():
        print(
            f"{side:9}{row['seconds']:9.1f}{seconds / row['seconds']:13.2f}{row['cpu']:9.1f}"
            f"{row['peak_mib']:10.0f}{row['load']:7.2f}"
        )
    for side in rows:
        if side == "ours" or "ours" not in rows:
            continue
        ratios = []
        for key, name in (("seconds", "time"), ("cpu", "CPU time"), ("peak_mib", "peak memory")):
            ratios = [a[key] / b[key] for a, b in zip(rounds["ours"], rounds[side], strict=True)]
            middle, least, most = statistics.median(ratios), min(ratios), max(ratios)
            ratios.append(f"{name} {middle:.2f} ({least:.2f} to {most:.2f})")
        print(f"ours / {side}: " + ", ".join(ratios), flush=True)
    if "ours" in rounds:
        costs = {
            side: [Cost(row["seconds"], row["cpu"], row["peak_mib"]) for row in found]
            for side, found in rounds.items()
        }
        what = f"enhancing {seconds:g} s, ours / "
        print()
        print_table(costs, {what + side: ("ours", side) for side in rounds if side != "ours"})


if __name__ == "__main__":
    main()
