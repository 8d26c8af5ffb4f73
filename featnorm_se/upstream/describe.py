"""What an upstream offers, as text."""

from __future__ import annotations

from pathlib import Path

from featnorm_se.upstream import load_upstream, upstream_card


def describe(
    name: str,
    checkpoint: str | None = None,
    freeze: str = "none",
    seed: int = 0,
    conf_dir: Path | None = None,
) -> str:
    """Return an upstream's contract in lines: sites with widths, hop, parameters, licence.

    Args:
        name, checkpoint, seed, conf_dir: as for ``load_upstream``.
        freeze: ``none``, ``cnn`` or ``all``; decides which parameters count as trainable.

    Raises:
        FeatnormError: as ``load_upstream``.
    """
    card = upstream_card(name, conf_dir)
    upstream = load_upstream(name, checkpoint, seed=seed, conf_dir=conf_dir)
    upstream.configure(freeze=freeze)
    sizes = {True: 0, False: 0}
    for parameter in upstream.parameters():
        sizes[parameter.requires_grad] += parameter.numel()
    over_time = "yes" if upstream.group_norm else "no"
    facts = {
        "upstream": f"{upstream.name} (family {upstream.family})",
        "weights": upstream.identity,
        "source": card.get("source") or "none (scratch, or a checkpoint of your own)",
        "licence": card.get("licence", "not told"),
        "hop": f"{upstream.hop} samples at 16 kHz ({upstream.hop / 16:g} ms)",
        "offset": f"{upstream.offset} samples to the centre of the first frame",
        "frames": f"{upstream.frames(16000)} a second of audio",
        "width": str(upstream.width),
        "layers": str(upstream.num_layers),
        "lowest site": f"{upstream.lowest_site} (what auto means)",
        "group norm": f"{over_time} (yes: batches run the convolutions one by one)",
        "parameters": f"{sum(sizes.values()):,}",
        "  trainable": f"{sizes[True]:,} (freeze: {freeze})",
        "  frozen": f"{sizes[False]:,}",
        "sites": "",
        **{f"  {site}": str(width) for site, width in upstream.sites.items()},
    }
    return "\n".join(f"{fact:<14}{value}".rstrip() for fact, value in facts.items())
