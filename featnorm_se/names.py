"""The names that options and files share: norms, sites, the one sampling rate."""

from __future__ import annotations

from featnorm_se.errors import FeatnormError

SAMPLE_RATE = 16000  # Hz; every upstream here was pre-trained at it
FEATURE_NORMS = ("utterance", "corpus", "instance", "mix")
NORMS = ("none", *FEATURE_NORMS, "level")
DEFAULT_NORM = "utterance"
LEVEL_SITE = "level"  # not a layer: RMS of each waveform in dB relative to full scale


def check_norm(norm: str) -> str:
    """Return ``norm`` when it is one of ``NORMS``.

    Raises:
        FeatnormError: it is none of them; the message lists them.
    """
    if norm not in NORMS:
        raise FeatnormError(f"no such norm: {norm!r}; there are {', '.join(NORMS)}")
    return norm


def check_sites(sites: str, layers: int) -> None:
    """Check sites, comma-separated, of an upstream of so many layers.

    Raises:
        FeatnormError: one does not exist, or none is named; the message lists them.
    """
    known = ["auto", "frontend", "projection", *(f"layer.{k + 1}" for k in range(layers)), "last"]
    if not layers:
        known = ["auto", "frontend", "last"]
    asked = [site.strip() for site in sites.split(",") if site.strip()]
    for site in asked or [sites]:
        if site not in known:
            raise FeatnormError(f"no such site: {site!r}; there are {', '.join(known)}")
