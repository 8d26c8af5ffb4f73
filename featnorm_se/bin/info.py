"""Print what an upstream offers: sites, sizes, parameters, licence."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from featnorm_se.bin import Parser, add_upstream_options, run

if TYPE_CHECKING:
    from featnorm_se.upstream.base import Upstream


def get_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = Parser("featnorm-se info", __doc__)
    add_upstream_options(parser)
    return parser


def main(argv: Sequence[str]) -> None:
    """Print the contract of one upstream."""
    args = get_parser().parse_args(argv)
    from featnorm_se.upstream import load_upstream, upstream_card

    card = upstream_card(args.upstream, args.upstream_conf_dir)
    described = bool(card["architecture"])  # else only a checkpoint says what it is
    checkpoint = args.upstream_ckpt or ("" if described else card.get("source")) or "scratch"
    # Without a checkpoint it is built from the card, with random weights: none is fetched.
    where = {"seed": args.seed, "conf_dir": args.upstream_conf_dir}
    upstream = load_upstream(args.upstream, checkpoint, **where)
    upstream.resolve_sites(args.norm_site)
    if not args.upstream_ckpt and described and card.get("source"):
        upstream.identity, upstream.source = "not read, see --upstream_ckpt", card["source"]
    elif args.upstream_ckpt and upstream.source:
        card = {**card, "licence": "see where these weights are from"}
    print(describe(upstream, card))


def describe(upstream: Upstream, card: Mapping[str, Any]) -> str:
    """Return an upstream's contract in lines: sites with widths, hop, parameters, licence."""
    facts = {
        "upstream": f"{upstream.name} (family {upstream.family})",
        "weights": upstream.identity,
        "source": upstream.source or "none (random weights)",
        "licence": card.get("licence", "not named"),
        "hop": f"{upstream.hop} samples at 16 kHz ({upstream.hop / 16:g} ms)",
        "offset": f"{upstream.offset} samples to the centre of the first frame",
        "frames": f"{16000 / upstream.hop:g} a second of audio",
        "width": str(upstream.width),
        "layers": str(upstream.num_layers),
        "lowest site": f"{upstream.lowest_site} (what auto means)",
        "group norm": "yes" if upstream.group_norm else "no",
        "parameters": f"{sum(weight.numel() for weight in upstream.parameters()):,}",
        "sites": "",
        **{f"  {site}": str(width) for site, width in upstream.sites.items()},
    }
    return "\n".join(f"{fact:<14}{value}".rstrip() for fact, value in facts.items())


if __name__ == "__main__":
    raise SystemExit(run(main))
