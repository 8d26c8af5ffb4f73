"""The registry: one commented YAML card an upstream, in ``conf/`` or a recipe's folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from featnorm_se.config import read_config
from featnorm_se.errors import FeatnormError

_CARDS = Path(__file__).parent / "conf"


def upstream_names(conf_dir: Path | None = None) -> list[str]:
    """Return the names of the registry; the cards of ``conf_dir`` count too."""
    folders = [_CARDS] if conf_dir is None else [Path(conf_dir), _CARDS]
    return sorted({card.stem for folder in folders for card in folder.glob("*.yaml")})


def upstream_card(name: str, conf_dir: Path | None = None) -> dict[str, Any]:
    """Return an upstream's card: family, source, hop, width, layers, licence, architecture ...

    Args:
        name: the upstream.
        conf_dir: a recipe's folder of cards, which goes before the package's.

    Raises:
        FeatnormError: there is no such upstream, or its card cannot be read.
    """
    known = upstream_names(conf_dir)
    if name not in known:
        raise FeatnormError(f"there is no upstream {name!r}; there are {', '.join(known)}")
    card = Path(conf_dir or _CARDS) / f"{name}.yaml"
    card = card if card.is_file() else _CARDS / f"{name}.yaml"
    content = read_config(card)
    for key in ("family", "architecture"):
        if key not in content:
            raise FeatnormError(f"the upstream's card {card} has no {key}")
    return content
