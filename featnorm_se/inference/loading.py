"""A trained model's configuration and weights: from a folder, a packed zip or Hugging Face."""

from __future__ import annotations

import os
import re
import zipfile
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import torch

from featnorm_se.config import parse_config
from featnorm_se.errors import FeatnormError

WEIGHTS, CONFIG = "model.safetensors", "config.yaml"
# A file of the package, and not of a folder that happens to be the current one.
SHIPPED = Path(__file__).resolve().parents[1] / "models" / "default.zip"
# name: the most bytes that it may have unpacked
MEMBERS = {
    WEIGHTS: 16 << 30,
    CONFIG: 4 << 20,
    "clean_stats.npz": 64 << 20,
    "results.json": 16 << 20,
    "README.md": 4 << 20,
}
# Weights are noise to a packer; what shrinks more than this is a bomb.
_MOST_SHRUNK = 50
MODEL_FILES = ("valid.loss.best.pth", "valid.loss.ave.pth", WEIGHTS)
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def read_model(
    source: str | os.PathLike[str], model_file: str | None = None
) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Return the configuration and the weights; no code in the files is run.

    Args:
        source: an experiment's folder, a packed ``.zip``, or ``owner/name`` on Hugging Face.
        model_file: the weights' file in a folder; ``None``: the best on validation.

    Raises:
        FeatnormError: a file is missing, broken, or would run code when loaded.
    """
    path = Path(source)
    if path.is_file():
        if model_file:
            raise FeatnormError(f"{path} is a packed model: --model_file is for folders")
        with closing(Archive(path)) as archive:
            weights = parse_weights(archive.read(WEIGHTS), f"{WEIGHTS} in {path}")
            return parse_config(archive.read(CONFIG), f"{CONFIG} in {path}"), weights
    if not path.exists() and _HUB_NAME.fullmatch(str(source)):
        path = fetch_from_hub(str(source))
    if not path.is_dir():
        raise FeatnormError(f"{path}: there is no such experiment's folder or packed model")
    return read_folder(path, model_file)


def shipped_model() -> Path:
    """Return the packed model that comes with the package, used when none is named.

    Raises:
        FeatnormError: this installation lacks it.
    """
    if not SHIPPED.is_file():
        raise FeatnormError(
            f"this installation has no model of its own ({SHIPPED} is missing): name one"
            " (--model), or install featnorm_se whole"
        )
    return SHIPPED


def read_folder(
    folder: Path, model_file: str | None = None
) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Read a folder's ``config.yaml`` and weights; see ``read_model``."""
    path = folder / CONFIG
    if not path.is_file():
        raise FeatnormError(f"{folder} holds no {CONFIG}: train first (stage 3)")
    config = parse_config(path.read_bytes(), str(path))
    weights = find_weights(folder, model_file)
    if weights.suffix == ".safetensors":
        return config, parse_weights(weights.read_bytes(), str(weights))
    try:
        return config, torch.load(weights, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises its own, pickle's and zip's errors here
        told = " ".join(str(error).split())[:200]
        raise FeatnormError(f"{weights} is no whole file of weights: {told}") from error


def find_weights(folder: Path, model_file: str | None = None) -> Path:
    """Return the weights' file of a folder.

    Raises:
        FeatnormError: there is none.
    """
    names = [model_file] if model_file else list(MODEL_FILES)
    found = [folder / name for name in names if (folder / name).is_file()]
    if not found:
        raise FeatnormError(f"{folder} holds no {' or '.join(names)}: train first (stage 3)")
    return found[0]


def parse_weights(data: bytes, where: str) -> dict[str, torch.Tensor]:
    """Read weights in the safetensors format, which holds arrays and nothing else.

    Those that ``pack`` has halved come as float32, which holds every float16 exactly.

    Raises:
        FeatnormError: it is another format or cut short; ``where`` names the file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        weights = load(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise FeatnormError(f"{where} is no whole file of weights: {error}") from error
    return {
        key: value.float() if value.dtype == torch.float16 else value
        for key, value in weights.items()
    }


def fetch_from_hub(name: str) -> Path:
    """Download a packed model from Hugging Face, or take it from its cache.

    Only the configuration and the weights in safetensors are fetched.

    Raises:
        FeatnormError: huggingface_hub is not installed, or it cannot have the model.
    """
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise FeatnormError(
            f"{name}: there is no such folder or packed model here; to look for a model of that"
            " name on Hugging Face, pip install huggingface_hub"
        ) from error
    try:
        return Path(snapshot_download(name, allow_patterns=[CONFIG, WEIGHTS]))
    except Exception as error:  # it raises its own, requests' and the system's errors
        told = " ".join(str(error).split())[:200]
        raise FeatnormError(
            f"{name}: there is no such folder or packed model here, and Hugging Face does not"
            f" give it (offline? a wrong name?): {told}"
        ) from error


class Archive:
    """An open packed model.

    Args:
        path: the zip.

    Raises:
        FeatnormError: it is no zip, lacks the weights or the configuration, holds any other
            file than a packed model does (a path out of it, say), or one that is far too large
            once unpacked.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError) as error:
            raise FeatnormError(f"{path} is no packed model: {error}") from error
        try:
            self._check()
        except FeatnormError:
            self._zip.close()
            raise

    def _check(self) -> None:
        names = Counter(info.filename for info in self._zip.infolist())
        odd = sorted(name for name, count in names.items() if name not in MEMBERS or count > 1)
        if odd:
            raise FeatnormError(
                f"{self.path} is no packed model: it holds {odd[0]!r}, which none does (once)"
            )
        for name in (WEIGHTS, CONFIG):
            if name not in names:
                raise FeatnormError(f"{self.path} is no packed model: it holds no {name}")
        for info in self._zip.infolist():
            most = min(MEMBERS[info.filename], 65536 + _MOST_SHRUNK * info.compress_size)
            if info.file_size > most or info.flag_bits & 1:
                raise FeatnormError(
                    f"{self.path}: {info.filename} would be {info.file_size} bytes, no packed"
                    " model's is"
                )

    def read(self, name: str) -> bytes:
        """Return one file's bytes.

        Raises:
            FeatnormError: it is not there, or broken.
        """
        try:
            with self._zip.open(name) as handle:
                # No further than promised, whatever comes out.
                return handle.read(self._zip.getinfo(name).file_size)
        except KeyError as error:
            raise FeatnormError(f"{self.path} holds no {name}") from error
        except (zipfile.BadZipFile, OSError, EOFError, ValueError, NotImplementedError) as error:
            raise FeatnormError(f"{self.path}: {name} is broken: {error}") from error
        except Exception as error:  # zlib.error and the like have no common parent
            raise FeatnormError(f"{self.path}: {name} is broken: {error}") from error

    def close(self) -> None:
        """Close the file."""
        self._zip.close()
