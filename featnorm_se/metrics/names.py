"""The metrics by name: unit, decimals, and the package that computes each."""

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from featnorm_se.errors import FeatnormError

# Raise this when a formula of this room changes: cached scores are then computed anew.
FORMULAE_VERSION = "2"


@dataclass(frozen=True)
class Metric:
    """One score: its unit, its package (empty: ours), and the decimals to print."""

    unit: str
    package: str
    decimals: int = 2


METRICS: dict[str, Metric] = {
    "PESQ_WB": Metric("MOS-LQO", "pesq", 3),
    "PESQ_NB": Metric("MOS-LQO", "pesq", 3),
    "STOI": Metric("0..1", "pystoi", 3),
    "ESTOI": Metric("0..1", "pystoi", 3),
    "SI_SDR": Metric("dB", ""),
    "SI_SDRi": Metric("dB", ""),
    "SDR": Metric("dB", "fast_bss_eval"),
    "CSIG": Metric("1..5", "pesq", 3),
    "CBAK": Metric("1..5", "pesq", 3),
    "COVL": Metric("1..5", "pesq", 3),
    "SSNR": Metric("dB", ""),
    "LLR": Metric("nats", "", 3),
    "WSS": Metric("dB^2", ""),
    "DNSMOS_OVRL": Metric("MOS", "speechmos", 3),
    "DNSMOS_SIG": Metric("MOS", "speechmos", 3),
    "DNSMOS_BAK": Metric("MOS", "speechmos", 3),
    "DNSMOS_P808": Metric("MOS", "speechmos", 3),
}
DNSMOS = tuple(name for name in METRICS if name.startswith("DNSMOS_"))
DEFAULT_METRICS = ("PESQ_WB", "STOI", "ESTOI", "SI_SDR", "CSIG", "CBAK", "COVL", "SSNR")


def resolve(names: Sequence[str]) -> tuple[str, ...]:
    """Spell out a list of metric names in the table's order; ``DNSMOS`` stands for its four.

    Raises:
        FeatnormError: a name is unknown, or the list is empty.
    """
    wanted = {one for name in names for one in (DNSMOS if name == "DNSMOS" else (name,))}
    unknown = sorted(wanted - METRICS.keys())
    if unknown or not wanted:
        fault = f"no metric is named {unknown[0] if unknown else ''!r}"
        raise FeatnormError(f"{fault}; there are {', '.join(METRICS)}, and DNSMOS for its four")
    return tuple(name for name in METRICS if name in wanted)


def check_packages(metrics: Sequence[str]) -> None:
    """Fail before the first utterance when a package is missing, not at each of them.

    Raises:
        FeatnormError: a metric's package is not installed.
    """
    for name in metrics:
        package = METRICS[name].package
        if package and find_spec(package) is None:
            source = "featnorm_se[dnsmos]" if name in DNSMOS else package
            mend = f"pip install '{source}', or leave the metric out of --metrics"
            raise FeatnormError(f"{name}: the package {package} is missing: {mend}")


def package_versions(metrics: Sequence[str]) -> dict[str, str]:
    """Return the version of every package that takes part in scoring ``metrics``.

    ``formulae`` is the version of this room's own formulae. The packages that only DNSMOS needs
    are named only when it is asked for. A metric of another version of ours has none.
    """
    names = ["numpy", "scipy", "soundfile"]
    names += sorted({METRICS[name].package for name in metrics if name in METRICS} - {""})
    if any(name in DNSMOS for name in metrics):
        names.append("onnxruntime")
    found = {"python": platform.python_version(), "formulae": FORMULAE_VERSION}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found
