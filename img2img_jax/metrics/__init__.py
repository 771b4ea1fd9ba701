"""How near outputs are to inputs and prompts, in numbers: batched, jitted, per sample.

``Evaluator`` is the way in, ``METRICS`` says what there is. docs/metrics.md has the table.
"""

from img2img_jax.metrics.bootstrap import Interval, bootstrap_mean
from img2img_jax.metrics.evaluator import Evaluator, compare_sets
from img2img_jax.metrics.masking import masked
from img2img_jax.metrics.metric import Metric
from img2img_jax.metrics.rank_correlation import spearman
from img2img_jax.metrics.registry import METRICS

__all__ = [
    "METRICS",
    "Evaluator",
    "Interval",
    "Metric",
    "bootstrap_mean",
    "compare_sets",
    "masked",
    "spearman",
]
