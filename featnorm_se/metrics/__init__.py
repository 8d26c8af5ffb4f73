"""One utterance pair in, one row of scores out.

- ``score_pair(ref, inf, sample_rate, metrics)``: the scores of two signals.
- ``score_set(...)`` in ``scoring``: those of two folders or scp files, in parallel, cached.
- ``METRICS``: the names, units and packages; ``DEFAULT_METRICS``: what a recipe scores.

Signals are scored as they are: no level change, no trimming, no alignment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from featnorm_se.metrics.names import DEFAULT_METRICS, METRICS, Metric

if TYPE_CHECKING:
    from featnorm_se.metrics.pair import score_pair

__all__ = ["DEFAULT_METRICS", "METRICS", "Metric", "score_pair"]


def __getattr__(name: str) -> Any:
    """Import ``score_pair`` when it is asked for: the process that hands out work has no use for
    numpy, and loading it would make the workers wait."""
    if name != "score_pair":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from featnorm_se.metrics.pair import score_pair

    return score_pair
