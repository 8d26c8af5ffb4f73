"""A trained model's configuration and weights: from a folder, a packed zip or Hugging Face."""

import os
import zipfile
import zlib
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load

from featnorm_se.config import parse_config, read_config
from featnorm_se.errors import FeatnormError
from featnorm_se.fetch import fetch_hub_folder, is_hub_name
from featnorm_se.files import PathLike, reading

WEIGHTS, CONFIG = "model.safetensors", "config.yaml"
MOST_TALKERS = 8  # their orders are all tried
# The packed model that comes with the package, used when none is named.
SHIPPED = Path(__file__).resolve().parents[1] / "models" / "default.zip"

Weights = dict[str, torch.Tensor]


def read_model(source: PathLike, model_file: str | None = None) -> tuple[dict[str, Any], Weights]:
    """Return the configuration and the weights; see ``Enhancer.from_pretrained``."""
    path = _find(source)
    if path.is_file():
        if model_file:
            raise FeatnormError(f"{path} is a packed model: --model_file is for folders")
        return _config(path), parse_weights(read_member(path, WEIGHTS), f"{WEIGHTS} in {path}")
    if not path.is_dir():
        raise FeatnormError(f"{path}: there is no such experiment's folder or packed model")
    return read_folder(path, model_file)


def count_talkers(source: PathLike) -> int:
    """Return how many talkers a model parts, from its configuration alone; 1: it enhances."""
    model = _config(_find(source)).get("separator_conf") or {}
    talkers = model.get("num_spk", 1) if isinstance(model, dict) else model
    if not isinstance(talkers, int) or not 0 < talkers <= MOST_TALKERS:
        fault = f"separator_conf.num_spk is {talkers!r}, 1 to {MOST_TALKERS} is wanted"
        raise FeatnormError(f"{CONFIG} of {source}: {fault}")
    return talkers


def _find(source: PathLike) -> Path:
    """Return where a model lies; what has a name of Hugging Face's is fetched."""
    hub = is_hub_name(str(source))
    return fetch_hub_folder(str(source), CONFIG, WEIGHTS) if hub else Path(source)


def _config(path: Path) -> dict[str, Any]:
    """Return the configuration of a packed model or a folder; empty where a folder has none."""
    if path.is_file():
        return parse_config(read_member(path, CONFIG), f"{CONFIG} in {path}")
    return read_config(path / CONFIG) if (path / CONFIG).is_file() else {}


def read_folder(folder: Path, model_file: str | None = None) -> tuple[dict[str, Any], Weights]:
    """Read a folder's ``config.yaml`` and weights; see ``read_model``."""
    if not (folder / CONFIG).is_file():
        raise FeatnormError(f"{folder} is no folder with {CONFIG}: train first (stage 3)")
    config = read_config(folder / CONFIG)
    weights = find_weights(folder, model_file)
    with reading(weights), open(weights, "rb") as file:
        if weights.suffix == ".safetensors":
            return config, parse_weights(file.read(), str(weights))
        try:
            return config, torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises its own, pickle's and zip's errors here
            reason = " ".join(str(error).split())[:200]
            raise FeatnormError(f"{weights} is no whole file of weights: {reason}") from error


def find_weights(folder: Path, model_file: str | None = None) -> Path:
    """Return the weights' file of a folder: the best by its configuration, if none is named.

    Raises:
        FeatnormError: there is none.
    """
    if model_file:
        names = [model_file]
    else:
        criteria = _config(folder).get("best_model_criterion") or [["valid", "loss", "min"]]
        best = [".".join(map(str, words[:2])) for words in criteria]
        names = [f"{name}.{kind}.pth" for name in best for kind in ("best", "ave")] + [WEIGHTS]
    found = [folder / name for name in names if os.path.lexists(folder / name)]
    if found and not found[0].is_file():  # an average would be other weights
        raise FeatnormError(f"{found[0]} leads to no file: bring that back, or give --model_file")
    if not found:
        raise FeatnormError(f"{folder} holds no {' or '.join(names)}: train first (stage 3)")
    return found[0]


def parse_weights(data: bytes, where: str) -> Weights:
    """Read weights in the safetensors format, which holds arrays and nothing else.

    Those that ``pack`` has halved come as float32, which holds every float16 exactly.

    Raises:
        FeatnormError: it is another format or cut short; ``where`` names the file.
    """
    try:
        weights = load(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise FeatnormError(f"{where} is no whole file of weights: {error}") from error
    return {k: v.float() if v.dtype == torch.float16 else v for k, v in weights.items()}


def read_member(path: Path, name: str) -> bytes:
    """Return one file of a packed model; nothing is unpacked to disk.

    Raises:
        FeatnormError: it is no zip or broken, or lacks the file.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.read(name)
    except KeyError as error:
        raise FeatnormError(f"{path} is no packed model: it holds no {name}") from error
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, RuntimeError) as error:
        raise FeatnormError(f"{path} is no packed model, or broken: {error}") from error
