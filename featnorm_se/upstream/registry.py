"""The registry: one commented YAML card an upstream, in ``conf/`` or a recipe's folder."""

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


def describe(upstream: Upstream, card: Mapping[str, Any]) -> str:
    """Return an upstream's contract in lines: sites with widths, hop, parameters, licence.

    Args:
        upstream: as configured; its ``freeze`` decides which parameters count as trainable.
        card: the card of its name.
    """
    sizes = {True: 0, False: 0}
    for parameter in upstream.parameters():
        sizes[parameter.requires_grad] += parameter.numel()
    facts = {
        "upstream": f"{upstream.name} (family {upstream.family})",
        "weights": upstream.identity,
        "source": card.get("source") or "none (scratch, or a checkpoint of your own)",
        "licence": card.get("licence", "not named"),
        "hop": f"{upstream.hop} samples at 16 kHz ({upstream.hop / 16:g} ms)",
        "offset": f"{upstream.offset} samples to the centre of the first frame",
        "frames": f"{upstream.frames(16000)} a second of audio",
        "width": str(upstream.width),
        "layers": str(upstream.num_layers),
        "lowest site": f"{upstream.lowest_site} (what auto means)",
        "group norm": "yes" if upstream.group_norm else "no",
        "parameters": f"{sum(sizes.values()):,}",
        "  trainable": f"{sizes[True]:,} (freeze: {upstream.freeze})",
        "  frozen": f"{sizes[False]:,}",
        "sites": "",
        **{f"  {site}": str(width) for site, width in upstream.sites.items()},
    }
    return "\n".join(f"{fact:<14}{value}".rstrip() for fact, value in facts.items())
