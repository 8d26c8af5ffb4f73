"""Makes tiny checkpoints of the five upstreams in the official layouts.

They load through the genuine s3prl experts:

    python test/tiny_checkpoints.py DIR
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

FAMILIES = ("mockingjay", "tera", "wav2vec2", "hubert", "wavlm")


def layout(upstream: Any) -> dict[str, Any]:
    """Return what an official checkpoint of this upstream's family holds."""
    config, weights = upstream.config, upstream.model.state_dict()
    if upstream.family == "wavlm":
        return {"cfg": config["cfg"], "model": weights}
    if upstream.family in ("wav2vec2", "hubert"):
        states = {
            "task_cfg": config["task_cfg"],
            "model_cfg": config["model_cfg"],
            "model_weight": weights,
        }
        if upstream.family == "hubert":
            states["dictionaries_symbols"] = [
                [str(symbol) for symbol in range(size)] for size in config["labels"]
            ]
        return states
    return {
        "Optimizer": {"state": {}, "param_groups": []},
        "Step": 1000,
        "Args": argparse.Namespace(seed=1337, expdir="result", config=None),
        "Config": {"runner": {"total_steps": 1000}},
        "Upstream_Config": {key: config[key] for key in ("transformer", "task", "audio")},
        "Transformer": weights,
        "SpecHead": {},
    }


def make(folder: Path, name: str, seed: int = 3, **changes: Any) -> Path:
    """Write ``folder/<name>.pt``, a checkpoint of the registered upstream ``name``.

    Args:
        folder: where to.
        name: for example ``wavlm_tiny``.
        seed: draws the weights.
        changes: values of the architecture to set, whichever of its parts has them.

    Returns:
        The file.
    """
    import torch

    from featnorm_se.upstream import load_upstream, upstream_card

    architecture = upstream_card(name)["architecture"]
    parts = [part for part in architecture.values() if isinstance(part, dict)]
    parts += [part["input"] for part in parts if "input" in part]
    for key, value in changes.items():
        holders = [part for part in parts if key in part]
        if not holders:
            raise KeyError(key)
        for part in holders:
            part[key] = value
    upstream = load_upstream(name, config=architecture, seed=seed)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.pt"
    torch.save(layout(upstream), path)
    return path


def main() -> None:
    """Write one tiny checkpoint of each family."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where to write them")
    folder = parser.parse_args().folder
    for family in FAMILIES:
        print(make(folder, f"{family}_tiny"))


if __name__ == "__main__":
    main()
