"""Pre-trained upstreams behind one contract: ``load_upstream(name, checkpoint)``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featnorm_se.errors import FeatnormError
from featnorm_se.upstream.registry import upstream_card, upstream_names

if TYPE_CHECKING:
    from featnorm_se.upstream.base import Upstream

__all__ = ["load_upstream", "upstream_card", "upstream_names"]


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
            the registered architecture; or a path or URL.
        config: an ``Upstream.config``: that architecture with random weights, no file. With
            a ``family`` in it, the name need not be in the registry.
        seed: draws the random weights; the caller's random state is left alone.
        conf_dir: a recipe's folder of cards, which goes before the package's.

    Returns:
        The upstream, in eval mode, its parameters as ``configure()`` sets them by default.

    Raises:
        FeatnormError: no such name, or the checkpoint cannot be had, read or fitted.
    """
    if not 0 <= seed < 1 << 32:
        raise FeatnormError(f"--seed {seed}: a whole number from 0 to {(1 << 32) - 1} is wanted")
    family = config.get("family") if config is not None else None
    card = {"family": family} if family else upstream_card(name, conf_dir)
    from featnorm_se.upstream import loading

    if config is not None:
        architecture = {key: value for key, value in config.items() if key != "family"}
        return loading.from_scratch(name, card["family"], architecture, seed)
    if str(checkpoint) == "scratch" or (checkpoint is None and not card.get("source")):
        return loading.from_scratch(name, card["family"], card["architecture"], seed)
    return loading.from_file(name, card, checkpoint)
