"""Print what an upstream offers: sites, sizes, parameters, licence."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featnorm_se.bin import Parser, add_upstream_options, run
from featnorm_se.errors import FeatnormError
from featnorm_se.fetch import is_hub_name
from featnorm_se.metrics.names import check_packages, resolve
from featnorm_se.names import DEFAULT_NORM, FEATURE_NORMS, check_norm, resolve_sites

if TYPE_CHECKING:
    from featnorm_se.upstream.base import Upstream


def get_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = Parser("featnorm-se info", __doc__)
    add = parser.add_argument
    add_upstream_options(parser)
    add("--norm", default=DEFAULT_NORM, help="for --check: kind of normalization")
    add("--metrics", help="for --check: metrics to score, parted by blanks")
    add("--check", action="store_true", help="only check a run's options; no model is loaded")
    return parser


def main(argv: Sequence[str]) -> None:
    """Print the contract of one upstream, or only check a run's options."""
    args = get_parser().parse_args(argv)
    from featnorm_se.upstream import known_sites, load_upstream, upstream_card

    card = upstream_card(args.upstream, args.upstream_conf_dir)
    described = bool(card["architecture"])  # else only a checkpoint says what it is
    checkpoint = args.upstream_ckpt or ("" if described else card.get("source")) or "scratch"
    if args.check:
        if check_norm(args.norm) not in FEATURE_NORMS and args.norm_site != "auto":
            raise FeatnormError(f"--norm_site {args.norm_site}: the norm {args.norm} has no site")
        sites = known_sites(card, args.upstream_ckpt, args.norm_site)
        resolve_sites(args.norm_site, sites, card.get("lowest_site", sites[0]))
        if args.metrics:
            check_packages(resolve(args.metrics.split()))
        elsewhere = checkpoint == "scratch" or "://" in checkpoint or is_hub_name(checkpoint)
        if not elsewhere and not Path(checkpoint).exists():
            raise FeatnormError(
                f"--upstream_ckpt {checkpoint}: there is no such file or folder; a path, a name of"
                " Hugging Face's, 'scratch' or nothing (the official checkpoint) is wanted"
            )
        return
    # Without a checkpoint it is built from the card, with random weights: none is fetched.
    where = {"seed": args.seed, "conf_dir": args.upstream_conf_dir}
    upstream = load_upstream(args.upstream, checkpoint, **where)
    upstream.resolve_sites("auto" if args.norm == "none" else args.norm_site)
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
