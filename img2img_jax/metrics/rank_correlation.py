"""Whether one quantity rises with another."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def spearman(x: ArrayLike, y: ArrayLike) -> float:
    """Spearman's rank correlation: -1 (falls throughout) to 1 (rises throughout); ties share their mean rank.

    Raises:
      ValueError: different lengths, fewer than two pairs, NaN, or a quantity that never changes.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if x.ndim != 1 or x.shape != y.shape or len(x) < 2:
        raise ValueError(f"a rank correlation takes two or more pairs of numbers, not {x.shape} and {y.shape}")
    if np.isnan(x).any() or np.isnan(y).any():
        raise ValueError("a rank correlation has no place for NaN; leave such pairs out")
    if (x == x[0]).all() or (y == y[0]).all():
        raise ValueError("a quantity that never changes has no rank correlation; vary it")
    return float(np.corrcoef(_ranks(x), _ranks(y))[0, 1])


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 0, equal values sharing the mean of theirs."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(count) - (count + 1) / 2)[place]
