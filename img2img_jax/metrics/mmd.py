"""Maximum mean discrepancy between two sets of features (Gretton et al., JMLR 13, 2012)."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float

Kernel = Callable[[Float[Array, "n p"], Float[Array, "m p"]], Float[Array, "n m"]]


def mmd2(kernel: Kernel, x: Float[Array, "n p"], y: Float[Array, "m p"], *, unbiased: bool = True) -> Float[Array, ""]:
    """Squared discrepancy.

    Args:
      kernel: of two sets of features, the matrix of all pairs. A constant may be left out of it: it cancels.
      unbiased: without the pairs of a feature with itself (eq. 3 of the paper), which may come out below 0; otherwise
        with them (eq. 5).
    """
    return _mean(kernel(x, x), unbiased) + _mean(kernel(y, y), unbiased) - 2 * kernel(x, y).mean()


def products(x: Float[Array, "n p"], y: Float[Array, "m p"]) -> Float[Array, "n m"]:
    """Inner products of all pairs, in full float32 on every device."""
    return jnp.matmul(x, y.T, precision="highest")


def _mean(pairs: Float[Array, "n n"], unbiased: bool) -> Float[Array, ""]:
    if not unbiased:
        return pairs.mean()
    n = len(pairs)
    return jnp.where(jnp.eye(n, dtype=bool), 0, pairs).sum() / (n * (n - 1))


def check_sets(x: Float[Array, "n p"], y: Float[Array, "m p"], metric: str) -> None:
    """Raises ValueError unless both are sets [N, p] of at least two features of one width."""
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < 2:
        raise ValueError(
            f"{metric} compares two sets of features [N, p] with N of 2 or more, not {x.shape} and {y.shape}"
        )
