"""How a corpus's size costs: time and peak memory of stages 1, 2 and 4 over tiny utterances.

    python tools/benchmarks/corpus_size.py --sizes 12500 50000 200000

The corpus is links to a few files of 0.1 s, so that what grows is the bookkeeping. Every command
runs in a process of its own and is measured with its workers.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LINKS = 20_000  # to one file: file systems allow some ten thousand
FOLDER = 1000  # utterances


def make_corpus(root: Path, size: int) -> None:
    """Write data directories of ``size`` training utterances and two to validate and to test."""
    import numpy as np
    import soundfile as sf

    rng = np.random.default_rng(0)
    for name, count in (("train", size), ("valid", 2), ("test", 2)):
        lines: dict[str, list[str]] = {"wav.scp": [], "spk1.scp": [], "utt2spk": []}
        for index in range(count):
            speaker = f"{name}{index % 100:02d}"
            key = f"{speaker}_{index:07d}"
            for kind, scp in (("noisy", "wav.scp"), ("clean", "spk1.scp")):
                source = root / "source" / f"{name}_{kind}_{index // LINKS}.wav"
                if not source.is_file():
                    source.parent.mkdir(parents=True, exist_ok=True)
                    sf.write(source, rng.normal(0, 0.05, 1600), 16000, subtype="PCM_16")
                link = root / kind / f"{index // FOLDER:04d}" / f"{key}.wav"
                if index % FOLDER == 0 or name != "train":
                    link.parent.mkdir(parents=True, exist_ok=True)
                os.link(source, link)
                lines[scp].append(f"{key} {link}\n")
            lines["utt2spk"].append(f"{key} {speaker}\n")
        folder = root / "kaldi" / name
        folder.mkdir(parents=True)
        for scp, told in lines.items():
            (folder / scp).write_text("".join(sorted(told)))


def measure(label: str, size: int, *command: str) -> tuple[str, int, float, float]:
    """Run one command; return its name, the size, its seconds and its tree's peak in MiB."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", *command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    peak = 0
    while process.poll() is None:
        peak = max(peak, _resident(process.pid))
        time.sleep(0.1)
    seconds = time.perf_counter() - started
    told = (process.stderr.read() if process.stderr else b"").decode()
    if process.returncode:
        raise SystemExit(f"{label}: {told.strip().splitlines()[-1]}")
    print(f"{label}, {size}: {seconds:.1f} s, {peak / 2**20:.0f} MiB", file=sys.stderr, flush=True)
    return label, size, seconds, peak / 2**20


def _resident(pid: int) -> int:
    """Return the bytes resident in a process and all below it (shared pages count for each)."""
    total = 0
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return total
    return total + sum(_resident(int(child)) for child in children)


def run_size(root: Path, size: int) -> list[tuple[str, int, float, float]]:
    """Run all commands on a corpus of one size."""
    make_corpus(root, size)
    data, out = root / "data", root / "enhanced"
    scp = str(data / "train" / "wav.scp")
    prepare = ("featnorm_se.bin.prepare", "--corpus", "kaldi", "--db_root", str(root / "kaldi"))
    prepare += ("--output", str(data))
    collect = ("featnorm_se.bin.collect_stats", "--upstream", "fbank", "--wav_scp", scp)
    collect += ("--output", str(root / "clean.npz"), "--norm_site", "frontend")
    listing = ("featnorm_se.bin.enhance_set", "--model", str(root), "--wav_scp", scp)
    listing += ("--output", str(out), "--list")
    score = ("featnorm_se.bin.score", "--ref", str(data / "train" / "spk1.scp"), "--inf", scp)
    score += ("--output", str(root / "scores"), "--metrics", "SI_SDR")
    rows = [
        measure("stage 1", size, *prepare),
        measure("stage 1 again, nothing to do", size, *prepare),
        measure("stage 2, fbank", size, *collect),
    ]
    (out / "wav").mkdir(parents=True)
    for line in Path(scp).read_text().splitlines():
        key, path = line.split(" ", 1)
        os.link(path, out / "wav" / f"{key}.wav")
    rows.append(measure("stage 4, listing", size, *listing))
    rows.append(measure("stage 4, scoring SI_SDR", size, *score))
    rows.append(measure("stage 4, scored already", size, *score))
    return rows


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[12_500, 50_000, 200_000])
    parser.add_argument("--quick", action="store_true", help="two small sizes, to try it out")
    args = parser.parse_args()
    rows = []
    for size in [200, 400] if args.quick else args.sizes:
        root = Path(tempfile.mkdtemp(prefix="corpus_size_"))
        try:
            rows += run_size(root, size)
        finally:
            shutil.rmtree(root)
    print("| what | utterances | seconds | microseconds an utterance | peak MiB |")
    print("|---|---:|---:|---:|---:|")
    for label, size, seconds, peak in sorted(rows, key=lambda row: (row[0], row[1])):
        print(f"| {label} | {size:,} | {seconds:.1f} | {1e6 * seconds / size:.0f} | {peak:.0f} |")


if __name__ == "__main__":
    main()
