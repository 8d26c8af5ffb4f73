"""featnorm_se: feature normalization for fine-tuning speech models for enhancement.

The public names are resolved on first use, so that ``import featnorm_se`` loads neither torch
nor ESPnet.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

_PUBLIC = {
    "FeatureNorm": "featnorm_se.normalization",
    "FeatureStats": "featnorm_se.statistics",
    "load_upstream": "featnorm_se.upstream",
    "Enhancer": "featnorm_se.inference.enhancer",
}

__all__ = ["Enhancer", "FeatureNorm", "FeatureStats", "__version__", "load_upstream"]

if TYPE_CHECKING:
    from featnorm_se.inference.enhancer import Enhancer
    from featnorm_se.normalization import FeatureNorm
    from featnorm_se.statistics import FeatureStats
    from featnorm_se.upstream import load_upstream


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'featnorm_se' has no attribute {name!r}")
