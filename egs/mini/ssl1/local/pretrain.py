#!/usr/bin/env python3
"""Pre-train a small Mockingjay or TERA on clean speech by masked reconstruction."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING

from featnorm_se.bin import Parser, run
from featnorm_se.errors import FeatnormError

if TYPE_CHECKING:
    from pretraining.trainer import Trainer


def get_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = Parser(
        prog="local/pretrain.py",
        description="Pre-train a Mockingjay or TERA on clean speech. The same command again goes"
        " on where a run was cut. What comes out, EXPDIR/<upstream>.pt, is a checkpoint for"
        " --upstream_ckpt.",
    )
    add = parser.add_argument
    add("--speech_root", nargs="+", required=True, help="folders of clean speech")
    add("--expdir", required=True, help="folder of this pre-training")
    add("--config", required=True, help="YAML of the objective and the training")
    add("--upstream", default="tera", help="whose card says the architecture")
    add("--upstream_conf_dir", help="folder of a recipe's upstream cards")
    add(
        "--valid_speakers",
        default="",
        help="speakers to hold out, with spaces between; none: drawn",
    )
    add("--steps", type=int, help="steps in place of the configuration's; 0: random weights")
    add("--seed", type=int, default=0, help="of everything random")
    add("--device", default="cpu", choices=("cpu", "cuda"), help="cpu or cuda")
    return parser


def main(argv: Sequence[str]) -> None:
    """Parse, train, draw the curve."""
    args = get_parser().parse_args(argv)
    from featnorm_se.files import locked

    with locked(args.expdir):
        trainer = prepare(args)
        if trainer is None:
            print(f"{args.expdir} is pre-trained already")
            return
        path = trainer.run()
        draw(trainer)
    rows = trainer.rows
    print(
        f"held-out loss {rows[0]['valid']:.4f} before, {rows[-1]['valid']:.4f} after"
        f" {trainer.step} steps in {rows[-1]['seconds'] / 60:.1f} minutes"
    )
    print(f"written: {path}")


def prepare(args: argparse.Namespace) -> Trainer | None:
    """Gather speech, features and model, and what tells this run from another; nothing: done."""
    import torch
    from pretraining import speech
    from pretraining.model import MaskedReconstruction, seeded
    from pretraining.plan import read_plan
    from pretraining.trainer import Trainer

    from featnorm_se.files import is_done
    from featnorm_se.inference.enhancer import choose_device
    from featnorm_se.statistics import SiteStats
    from featnorm_se.upstream import load_upstream, upstream_card
    from featnorm_se.upstream.mockingjay import MelUpstream

    plan, device = read_plan(Path(args.config), args.steps), choose_device(args.device)
    folder = Path(args.upstream_conf_dir) if args.upstream_conf_dir else None
    card = upstream_card(args.upstream, folder)
    if card["family"] not in ("mockingjay", "tera"):
        raise FeatnormError(
            f"--upstream {args.upstream} is of the family {card['family']}: only mockingjay and"
            " tera are pre-trained by masked reconstruction"
        )
    pieces = speech.find_pieces(args.speech_root, plan.piece_seconds)
    train, valid = speech.hold_out(pieces, args.valid_speakers.split(), plan.valid_share, args.seed)
    settings = {
        "upstream": args.upstream,
        "architecture": card["architecture"],
        "plan": vars(plan),
        "seed": args.seed,
        "speech": {
            "train": speech.summary(train),
            "valid": speech.summary(valid) | {"names": sorted({piece.speaker for piece in valid})},
        },
    }
    if is_done(Path(args.expdir) / f"{args.upstream}.pt", settings):
        return None
    upstream = load_upstream(args.upstream, "scratch", seed=args.seed, conf_dir=folder)
    assert isinstance(upstream, MelUpstream)
    upstream.set_dropout(plan.dropout)
    features = speech.take_features(train + valid, upstream.mel)
    width = upstream.mel.width
    mean, deviation = torch.zeros(width), torch.ones(width)
    if not upstream.mel.cmvn:  # those that are not normalized per utterance are by the corpus
        stats = reduce(SiteStats.merge, (SiteStats.of(f.numpy()) for f in features[: len(train)]))
        mean, deviation = torch.from_numpy(stats.mean), torch.from_numpy(stats.std).clamp(min=1e-5)
    with seeded(args.seed, 4):
        model = MaskedReconstruction(upstream, plan.objective, mean, deviation)
    return Trainer(
        Path(args.expdir),
        model.to(device),
        upstream,
        plan,
        features[: len(train)],
        features[len(train) :],
        settings,
        args.seed,
    )


def draw(trainer: Trainer) -> None:
    """Draw ``curve.png``."""
    from featnorm_se.report.figure import PALETTE, new_figure, to_png

    with new_figure(6.4, 3.4) as figure:
        axes = figure.subplots()
        for number, name in enumerate(("train", "valid")):
            rows = [row for row in trainer.rows if row["step"] or name == "valid"]
            axes.plot(
                [row["step"] for row in rows],
                [row[name] for row in rows],
                "-" if name == "valid" else "--",
                color=PALETTE[number],
                label="held-out speakers" if name == "valid" else "training speech",
            )
        objective = trainer.plan.objective["loss"]
        axes.set(xlabel="step", ylabel=f"masked reconstruction, {objective}")
        axes.grid(True)
        axes.legend()
        to_png(figure, trainer.folder / "curve.png")


if __name__ == "__main__":
    raise SystemExit(run(main))
