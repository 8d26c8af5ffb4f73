"""The names that options and files share: norms, sites, the one sampling rate."""

from collections.abc import Sequence

from featnorm_se.errors import FeatnormError

SAMPLE_RATE = 16000  # Hz; every upstream here was pre-trained at it
FEATURE_NORMS = ("utterance", "corpus", "instance", "mix")
NORMS = ("none", *FEATURE_NORMS, "level")
DEFAULT_NORM = "utterance"
LEVEL_SITE = "level"  # not a layer: RMS of each waveform in dB relative to full scale
HIGH_BAND = ("keep", "drop")  # what enhancing does with what lies above 8 kHz
PRECISIONS = ("auto", "float32", "tf32", "bf16")  # that a network is computed in


def check_precision(precision: str, bf16: bool | None = None) -> str:
    """Return the name of a precision; ``bf16`` is what older configurations say in its place.

    Raises:
        FeatnormError: it is none of ``PRECISIONS``, or is named in both ways.
    """
    if bf16 is not None and precision != "auto":
        raise FeatnormError(f"precision {precision} and its older name bf16 are set: drop bf16")
    if bf16 is not None:
        return "bf16" if bf16 else "float32"
    if precision not in PRECISIONS:
        raise FeatnormError(f"no such precision: {precision!r}; there are {', '.join(PRECISIONS)}")
    return precision


def check_decoding(precision: str, atten_lim: float | None, high_band: str) -> None:
    """Check how a model is to enhance.

    Raises:
        FeatnormError: a name is unknown, or the attenuation limit, in dB, is not above 0.
    """
    check_precision(precision)
    if high_band not in HIGH_BAND:
        raise FeatnormError(f"high_band is {' or '.join(HIGH_BAND)}, not {high_band!r}")
    if atten_lim is not None and not atten_lim > 0:  # NaN is not either
        raise FeatnormError(f"an attenuation limit of {atten_lim:g} dB: above 0 is wanted")


def check_norm(norm: str) -> str:
    """Return ``norm`` when it is one of ``NORMS``.

    Raises:
        FeatnormError: it is none of them; the message lists them.
    """
    if norm not in NORMS:
        raise FeatnormError(f"no such norm: {norm!r}; the norms are {', '.join(NORMS)}")
    return norm


def check_sites(norm: str, sites: Sequence[str]) -> None:
    """Raise FeatnormError for ``corpus`` at several sites.

    Its noisy statistics are without FN, and FN at a lower site changes what comes to a higher one.
    """
    if norm == "corpus" and len(sites) > 1:
        fault = f"norm corpus at {', '.join(sites)}: its noisy statistics would be of other"
        raise FeatnormError(f"{fault} features than come to the higher sites: name one site")


def site_names(layers: int) -> list[str]:
    """Return the sites of an upstream of so many transformer layers, from the signal upwards."""
    behind = ["projection", *(f"layer.{k + 1}" for k in range(layers))] if layers else []
    return ["frontend", *behind]


def highest_site(feature: str, sites: Sequence[str], normed: Sequence[str]) -> str:
    """Return the highest of all sites that is computed, by what the head gets.

    Raises:
        FeatnormError: there is no such feature, or one of the normalized sites lies above it.
    """
    features = {"last": sites[-1], "weighted_sum": sites[-1], **{site: site for site in sites}}
    if feature not in features:
        raise FeatnormError(f"no such feature: {feature!r}; there are {', '.join(features)}")
    above = sites[sites.index(features[feature]) + 1 :]
    if odd := [site for site in normed if site in above]:
        fault = f"norm_site {odd[0]} lies above separator_conf.feature {feature}"
        raise FeatnormError(f"{fault}: nothing there is computed, name a lower site")
    return features[feature]


def resolve_sites(
    sites: str | Sequence[str], known: Sequence[str], lowest: str = "frontend"
) -> list[str]:
    """Return canonical sites in order of depth, from ``"auto,layer.3"`` or a list.

    ``auto`` (the ``lowest``) and ``last`` are taken, too, and ``all`` by itself. The sites that
    are ``known`` go from the signal upwards.

    Raises:
        FeatnormError: a site does not exist or is named twice, or none is named.
    """
    asked = list(sites) if isinstance(sites, (list, tuple)) else str(sites).split(",")
    names = [site.strip() for site in asked]
    names = list(known) if names == ["all"] else names
    chosen = [{"auto": lowest, "last": known[-1]}.get(site, site) for site in names]
    for site in chosen or [""]:
        if site not in known:
            listed = ", ".join([*known, "auto", "last", "all by itself"])
            raise FeatnormError(f"no such site: {site!r}; there are {listed}")
        if chosen.count(site) > 1:
            raise FeatnormError(f"the site {site} is named twice in {','.join(asked)!r}")
    return [site for site in known if site in chosen]
