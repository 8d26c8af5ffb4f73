"""What is known of an upstream's checkpoint without loading it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from featnorm_se.files import sha256_file
from featnorm_se.names import site_names


def known_sites(card: Mapping[str, Any], checkpoint: str | None, *asked: str) -> list[str]:
    """Return a model's sites without loading it.

    Of a file whose weights alone tell how many layers it has, they are as many as are asked for.

    Raises:
        FeatnormError: a folder's ``config.json`` is of another family, or cannot be read.
    """
    if checkpoint in (None, "scratch"):
        return site_names(int(card["layers"]))
    path = Path(str(checkpoint)).expanduser()
    if path.is_dir() or (path.parent / "config.json").is_file():
        from featnorm_se.upstream import huggingface  # which loads torch

        if path.is_dir() or huggingface.is_described(path):
            described = huggingface.read_description(path, card["family"])
            return site_names(described["num_hidden_layers"])
    deepest = max([1, *map(int, re.findall(r"layer\.(\d{1,3})", ",".join(asked)))])
    both = {f"layer.{deepest}", "last"}  # named side by side they are two
    return site_names(deepest + any(both <= {*re.split(r"[\s,]+", sites)} for sites in asked))


def file_identity(checkpoint: str) -> str | None:
    """Return the ``identity`` of weights in one file; ``None`` for all else.

    A ``config.json`` beside a file counts too, and so do the files of a folder.
    """
    path = Path(checkpoint)
    alone = path.is_file() and not path.with_name("config.json").is_file()
    return f"sha256:{sha256_file(path)}" if alone else None
