#!/usr/bin/env python3
"""A fine-tuning step, forward and backward: ours against s3prl's and ESPnet's ways to it.

All take the same WavLM with random weights, from one checkpoint in the official layout, the same
waveforms and the same mask head; the convolutions get their gradient in all of them. Each runs in
a process of its own, which gives its peak memory, and they step in turn, so that a busy machine
slows all of them.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from timing import Cost, costs_in_turn, print_table

# What each contestant is, and the settings of ours. bf16 is autocast in all that have it.
CONTESTANTS: dict[str, dict[str, Any]] = {
    "s3prl": {"peer": "s3prl"},
    "s3prl, bf16": {"peer": "s3prl", "bf16": True},
    "ESPnet": {"peer": "espnet"},
    "ours": {},
    "ours, bf16": {"precision": "bf16"},
    "ours, float32": {"precision": "float32"},
    "ours, tf32": {"precision": "tf32"},
    "ours, bf16, not recorded": {"precision": "bf16", "recorded": False},
    "ours, bf16, checkpointing": {"precision": "bf16", "gradient_checkpointing": True},
    "ours, fast: false": {"fast": False},
    "ours, checkpointing": {"gradient_checkpointing": True},
    "ours, FN": {"norm": "utterance"},
}
GROUPS: tuple[dict[str, tuple[str, str]], ...] = (
    {
        "step, float32: s3prl / ours": ("s3prl", "ours"),
        "step, float32: ESPnet / ours": ("ESPnet", "ours"),
        "step, float32: ours fast: false / ours": ("ours, fast: false", "ours"),
    },
    {
        "step: s3prl float32 / ours bf16": ("s3prl", "ours, bf16"),
        "step: s3prl autocast bf16 / ours bf16": ("s3prl, bf16", "ours, bf16"),
        "step: ours float32 / ours bf16": ("ours", "ours, bf16"),
    },
    {
        "step: gradient_checkpointing / without": ("ours, checkpointing", "ours"),
        "step: FN at frontend / norm none": ("ours, FN", "ours"),
    },
    {
        "step: s3prl float32 / ours float32": ("s3prl", "ours, float32"),
        "step: s3prl float32 / ours tf32": ("s3prl", "ours, tf32"),
        "step: s3prl float32 / ours bf16": ("s3prl", "ours, bf16"),
        "step: s3prl autocast bf16 / ours bf16": ("s3prl, bf16", "ours, bf16"),
        "step: not recorded / recorded, bf16": ("ours, bf16, not recorded", "ours, bf16"),
        "step: checkpointing / without, bf16": ("ours, bf16, checkpointing", "ours, bf16"),
    },
)


class Worker:
    """A contestant in a process of its own, which steps when it is told to."""

    def __init__(self, name: str, args: argparse.Namespace, checkpoint: Path) -> None:
        command = [sys.executable, __file__, "--worker", name, "--checkpoint", str(checkpoint)]
        for option in ("upstream", "batch", "seconds", "threads", "device"):
            command += [f"--{option}", str(getattr(args, option))]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.name = name
        self.base_mib = 0.0

    def wait(self) -> None:
        """Wait until it is built; all are built at once."""
        self.base_mib = float(self._answer()["mib"])

    def _answer(self) -> dict[str, float]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):  # s3prl and ESPnet print what they like
                answer: dict[str, float] = json.loads(line)
                return answer
        raise SystemExit(f"{self.name}: the process ended with {self.process.wait()}")

    def step(self) -> Cost:
        """Make one step."""
        assert self.process.stdin is not None
        self.process.stdin.write("step\n")
        self.process.stdin.flush()
        return Cost(**self._answer())

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def batch(args: argparse.Namespace) -> tuple[Any, Any, Any]:
    """Return waveforms (B, N), their spectra (B, T, F) and, on the CPU, the frames (B,)."""
    import torch

    torch.manual_seed(0)
    wav = (torch.randn(args.batch, int(16000 * args.seconds)) * 0.05).to(args.device)
    window = torch.hann_window(400, device=args.device)
    spectrum = torch.stft(wav, 512, 160, 400, window, return_complex=True).transpose(1, 2)
    return wav, spectrum, torch.full((args.batch,), spectrum.shape[1])


def short_hub(upstream: str) -> None:
    """Put one upstream's entries in the place of ``s3prl.hub``.

    The hub imports all upstreams there are, some of which want packages that none of this needs.
    """
    hub = types.ModuleType("s3prl.hub")
    entries = importlib.import_module(f"s3prl.upstream.{upstream}.hubconf")
    vars(hub).update({name: value for name, value in vars(entries).items() if name[0] != "_"})
    vars(hub)["options"] = lambda only_registered_ckpt=False: [f"{upstream}_local"]
    sys.modules["s3prl.hub"] = hub
    vars(importlib.import_module("s3prl"))["hub"] = hub


def peer_features(peer: str, upstream: str, checkpoint: str) -> tuple[Any, Callable[[Any], Any]]:
    """Return a peer's module and what calls it on waveforms (B, N) for (B, T, D)."""
    import torch

    from featnorm_se.upstream import upstream_card

    family = upstream_card(upstream)["family"]
    short_hub(family)
    local = {"upstream": f"{family}_local", "path_or_url": checkpoint}
    if peer == "espnet":
        from espnet2.asr.frontend.s3prl import S3prlFrontend

        module: Any = S3prlFrontend(frontend_conf=local)
        return module, lambda wav: module(wav, _lengths(wav))[0]
    from s3prl.nn import Featurizer, S3PRLUpstream

    whole = S3PRLUpstream(local["upstream"], path_or_url=checkpoint)
    whole.upstream.model.feature_grad_mult = 1.0  # s3prl leaves the convolutions out otherwise
    module = torch.nn.ModuleDict({"upstream": whole, "featurizer": Featurizer(whole)})

    def features(wav: Any) -> Any:
        states, sizes = whole(wav, _lengths(wav))
        return module["featurizer"](states[-1:], sizes[-1:])[0]

    return module, features


def _lengths(x: Any) -> Any:
    """Return the sizes (B,) of a batch (B, N, ...) without padding."""
    import torch

    return torch.full((len(x),), x.shape[1], device=x.device)


def build(name: str, args: argparse.Namespace) -> tuple[Any, Callable[[], Any]]:
    """Return a contestant's module in training mode and what computes its loss."""
    import torch

    from featnorm_se.model.head import MaskHead, to_stft_rate
    from featnorm_se.model.recorded import Recorder
    from featnorm_se.model.separator import FeatNormSeparator
    from featnorm_se.upstream import upstream_card

    how = dict(CONTESTANTS[name])
    wav, spectrum, lengths = batch(args)
    peer = how.pop("peer", None)
    if peer is None:
        norm, recorded = how.pop("norm", "none"), how.pop("recorded", True)
        separator = FeatNormSeparator(257, upstream=args.upstream, norm=norm, **how).train()
        separator.to(args.device)
        separator.has_silence = False  # as the trainer finds
        if args.device == "cuda" and recorded:
            separator.recorder = Recorder()  # as the trainer has it
        return separator, lambda: separator(spectrum, lengths)[0][0].abs().mean()
    source, features = peer_features(peer, args.upstream, args.checkpoint)
    head = MaskHead(upstream_card(args.upstream)["width"], 257)
    module = torch.nn.ModuleDict({"source": source, "head": head}).train().to(args.device)

    def loss() -> Any:
        with torch.autocast(args.device, torch.bfloat16, enabled=bool(how.get("bf16"))):
            x = features(wav)
            x = to_stft_rate(x, _lengths(x), 320, 200, 160, spectrum.shape[1])
            mask = head(x, spectrum.abs(), lengths)
        return (spectrum * mask).abs().mean()

    return module, loss


def memory(what: str) -> float:
    """Return a line of /proc/self/status in MiB; 0 where there is none."""
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="utf-8").splitlines() if status.is_file() else []
    return sum(float(line.split()[1]) / 1024 for line in lines if line.startswith(f"{what}:"))


def work(args: argparse.Namespace) -> None:
    """Build one contestant, then step at each line of the input and tell the cost."""
    import torch

    torch.set_num_threads(args.threads)
    on_gpu = args.device == "cuda"
    if on_gpu:
        torch.cuda.set_stream(torch.cuda.Stream())  # as the trainer does
    module, loss = build(args.worker, args)
    base = torch.cuda.memory_allocated() / 2**20 if on_gpu else memory("VmRSS")
    print(json.dumps({"mib": base}), flush=True)
    reset = Path("/proc/self/clear_refs")
    for _ in sys.stdin:
        module.zero_grad(set_to_none=True)
        if reset.exists():
            reset.write_text("5", encoding="utf-8")  # the peak begins anew
        if on_gpu:
            torch.cuda.synchronize()
        began, busy = time.perf_counter(), time.process_time()
        loss().backward()
        if on_gpu:
            torch.cuda.synchronize()
        seconds, cpu = time.perf_counter() - began, time.process_time() - busy
        # What torch has asked the GPU for: a recording's memory counts as free between steps.
        peak = torch.cuda.max_memory_reserved() / 2**20 if on_gpu else memory("VmHWM")
        print(json.dumps({"seconds": seconds, "cpu": cpu, "peak_mib": peak}), flush=True)


def write_checkpoint(folder: Path, upstream: str) -> Path:
    """Write random weights in the official layout."""
    import torch

    from featnorm_se.upstream import load_upstream

    script = Path(__file__).parents[2] / "test" / "tiny_models.py"
    spec = importlib.util.spec_from_file_location("tiny_models", script)
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    path = folder / f"{upstream}.pt"
    torch.save(made.layout(load_upstream(upstream, "scratch")), path)
    return path


def main(argv: Sequence[str] | None = None) -> None:
    """Time and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--upstream", default="wavlm", help="of the waveform families")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="cpu or cuda")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument(
        "--group",
        type=int,
        action="append",
        choices=range(len(GROUPS)),
        help="only these rows: 0 float32, 1 bf16, 2 checkpointing and FN, 3 a GPU's",
    )
    parser.add_argument("--quick", action="store_true", help="a small case, to see that it runs")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--checkpoint", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.worker:
        work(args)
        return
    if args.quick:
        args.batch, args.seconds, args.repetitions = 1, 1.0, 1
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = write_checkpoint(Path(folder), args.upstream)
        for pairs in [GROUPS[number] for number in args.group or range(len(GROUPS))]:
            names = sorted({name for pair in pairs.values() for name in pair})
            workers = {name: Worker(name, args, checkpoint) for name in names}
            for worker in workers.values():
                worker.wait()
            steps = {name: worker.step for name, worker in workers.items()}
            for _ in range(3 if args.device == "cuda" else 0):  # the second step is recorded
                for step in steps.values():
                    step()
            costs = costs_in_turn(steps, args.repetitions)
            for name, worker in workers.items():
                worker.close()
                most = max(cost.peak_mib or 0.0 for cost in costs[name])
                print(f"{name}: {worker.base_mib:.0f} MiB before, {most:.0f} MiB at the peak")
            print_table(costs, pairs)


if __name__ == "__main__":
    main()
