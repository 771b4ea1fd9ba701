"""KID: kernel Inception distance between two sets of pictures (Binkowski et al. 1801.01401)."""

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from img2img_jax.metrics.mmd import check_sets, mmd2, products


class KID(NamedTuple):
    """Mean over the subsets, and the standard deviation between them."""

    mean: float
    std: float


def kid(
    x: Float[Array, "n p"], y: Float[Array, "m p"], *, subsets: int = 100, subset_size: int = 1000, seed: int = 0
) -> KID:
    """Squared MMD under the cubic kernel ``(x.y / p + 1)^3``, unbiased: about 0 (same distribution) upwards.

    Averaged over random subsets, drawn without replacement. Sets that fit into one subset are compared as a whole,
    once. Published values are of Inception-v3's 2048 pooled features; pass those to compare with them.

    Args:
      x, y: features of the two sets, of about unit mean square.

    Raises:
      ValueError: fewer than two features, or of different widths; fewer than one subset.
    """
    check_sets(x, y, "kid")
    if subsets < 1 or subset_size < 2:
        raise ValueError(f"kid needs 1 subset or more of 2 features or more, not {subsets} of {subset_size}")
    size = min(subset_size, len(x), len(y))
    if size == len(x) == len(y):
        subsets = 1
    generator = np.random.default_rng(seed)
    draws = [
        np.stack([generator.choice(len(features), size, replace=False) for _ in range(subsets)]) for features in (x, y)
    ]
    values = np.asarray(_over_subsets(x, y, *draws))
    return KID(mean=float(values.mean()), std=float(values.std()))


@jax.jit
def _over_subsets(
    x: Float[Array, "n p"], y: Float[Array, "m p"], rows_x: Int[Array, "s k"], rows_y: Int[Array, "s k"]
) -> Float[Array, " s"]:
    return jax.lax.map(lambda rows: mmd2(_cubic, x[rows[0]], y[rows[1]]), (rows_x, rows_y))


def _cubic(x: Float[Array, "n p"], y: Float[Array, "m p"]) -> Float[Array, "n m"]:
    """The kernel minus 1, multiplied out so that small products keep their digits."""
    product = products(x, y) / x.shape[1]
    return product * (3 + product * (3 + product))
