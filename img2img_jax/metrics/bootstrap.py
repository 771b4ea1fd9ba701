"""Confidence intervals by resampling, over images and seeds."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike


class Interval(NamedTuple):
    """A mean and the ends of its confidence interval."""

    mean: float
    low: float
    high: float


def bootstrap_mean(
    values: ArrayLike,
    images: Sequence[Hashable],
    seeds: Sequence[Hashable],
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """The mean of ``values`` and its percentile interval, with images and seeds both drawn anew.

    Rows of one image are not independent, nor are rows of one seed, whose noise they share. So whole images and whole
    seeds are drawn with replacement, and a row counts as often as its image times as its seed was drawn (Owen, "The
    pigeonhole bootstrap", Annals of Applied Statistics 1(2), 2007). With a single image, the interval is over seeds
    alone, and the other way round.

    Args:
      values: one per row.
      images, seeds: what each row was made from; not every image need have every seed.
      level: of confidence, between 0 and 1.
      resamples: number of draws.
      seed: of the draws.

    Raises:
      ValueError: no rows, rows without image or seed, values that are not finite, or a level outside (0, 1).
    """
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or not len(values) or not len(values) == len(images) == len(seeds):
        counts = f"{values.shape}, {len(images)} and {len(seeds)}"
        raise ValueError(f"values, images and seeds must be as many, at least one; there are {counts}")
    if not np.isfinite(values).all():
        raise ValueError(f"value {values[~np.isfinite(values)][0]} has no mean; leave its row out, and say so")
    if not 0 < level < 1:
        raise ValueError(f"level={level} is not between 0 and 1; 0.95 is usual")
    sums, counts = _table(values, images, seeds)
    generator = np.random.default_rng(seed)
    by_image, by_seed = (_draws(generator, resamples, size) for size in sums.shape)
    total = ((by_image @ counts) * by_seed).sum(1)
    means = ((by_image @ sums) * by_seed).sum(1)[total > 0] / total[total > 0]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(mean=float(values.mean()), low=float(low), high=float(high))


def _table(values: np.ndarray, images: Sequence[Hashable], seeds: Sequence[Hashable]) -> tuple[np.ndarray, np.ndarray]:
    """Sums and numbers of rows, [images, seeds]."""
    rows, columns = ({key: place for place, key in enumerate(dict.fromkeys(keys))} for keys in (images, seeds))
    places = [rows[image] for image in images], [columns[seed] for seed in seeds]
    sums, counts = np.zeros((len(rows), len(columns))), np.zeros((len(rows), len(columns)))
    np.add.at(sums, places, values)
    np.add.at(counts, places, 1)
    return sums, counts


def _draws(generator: np.random.Generator, resamples: int, size: int) -> Float[np.ndarray, "resamples size"]:
    """How often each of ``size`` things is drawn in ``size`` draws with replacement."""
    return generator.multinomial(size, np.full(size, 1 / size), resamples).astype(np.float64)
