"""One utterance pair in, one row of scores out.

- ``score_pair(ref, inf, sample_rate, metrics)``: the scores of two signals.
- ``score_set(...)`` in ``scoring``: those of two folders or scp files, in parallel, kept.
- ``METRICS``: the names, units and packages; ``DEFAULT_METRICS``: what a recipe scores.

No level change, no trimming, no alignment; what has a rate above 16 kHz is resampled to it.
"""

from featnorm_se.metrics.names import DEFAULT_METRICS, METRICS, Metric
from featnorm_se.metrics.pair import score_pair

__all__ = ["DEFAULT_METRICS", "METRICS", "Metric", "score_pair"]
