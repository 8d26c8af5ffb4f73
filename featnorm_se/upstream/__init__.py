"""Pre-trained upstreams behind one contract: ``load_upstream(name, checkpoint)``.

The registry is one commented YAML card an upstream, in ``conf/`` or a recipe's own folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featnorm_se.config import read_config
from featnorm_se.errors import FeatnormError

if TYPE_CHECKING:
    from featnorm_se.upstream.base import Upstream

_CARDS = Path(__file__).parent / "conf"


def upstream_names(conf_dir: Path | None = None) -> list[str]:
    """Return the names of the registry; the cards of ``conf_dir`` count too."""
    folders = [_CARDS] if conf_dir is None else [Path(conf_dir), _CARDS]
    return sorted({card.stem for folder in folders for card in folder.glob("*.yaml")})


def upstream_card(name: str, conf_dir: Path | None = None) -> dict[str, Any]:
    """Return an upstream's card: family, source, hop, width, layers, licence, architecture ...

    A recipe's folder of cards, ``conf_dir``, goes before the package's.

    Raises:
        FeatnormError: there is no such upstream, or its card cannot be read.
    """
    known = upstream_names(conf_dir)
    if name not in known:
        place = " (a file or folder goes to --upstream_ckpt)" if Path(name).exists() else ""
        raise FeatnormError(f"there is no upstream {name!r}{place}; there are {', '.join(known)}")
    card = Path(conf_dir or _CARDS) / f"{name}.yaml"
    card = card if card.is_file() else _CARDS / f"{name}.yaml"
    content = read_config(card)
    for key in ("family", "layers", "architecture"):
        if key not in content:
            raise FeatnormError(f"the upstream's card {card} has no {key}")
    if (beside := card.parent / str(content.get("source"))).is_file():
        content["source"] = str(beside)
    return content


def load_upstream(
    name: str,
    checkpoint: str | Path | None = None,
    *,
    config: Mapping[str, Any] | None = None,
    seed: int = 0,
    conf_dir: Path | None = None,
) -> Upstream:
    """Load an upstream by name.

    Args:
        name: an upstream of the registry (``upstream_names()``).
        checkpoint: ``None``, the official one, fetched and kept; ``scratch``, random weights of
            the registered architecture; a file; a folder of Hugging Face's; ``owner/name`` or
            ``owner/name@revision`` there.
        config: an ``Upstream.config``: that architecture with random weights, no file. With
            a ``family`` in it, the name need not be in the registry.
        seed: draws the random weights; the caller's random state is left alone.
        conf_dir: a recipe's folder of cards, which goes before the package's.

    Returns:
        The upstream, in eval mode, its parameters as ``configure()`` sets them by default.

    Raises:
        FeatnormError: no such name, or the checkpoint cannot be had, read or fitted.
    """
    family = config.get("family") if config is not None else None
    card = {"family": family} if family else upstream_card(name, conf_dir)
    from featnorm_se.upstream import loading

    if config is not None:
        return loading.from_scratch(name, card["family"], config, seed)
    if str(checkpoint) == "scratch" or (checkpoint is None and not card.get("source")):
        return loading.from_scratch(name, card["family"], card["architecture"], seed)
    return loading.from_file(name, card, checkpoint)
