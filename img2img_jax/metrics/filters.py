"""Separable filters over the two middle axes of a batch."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def gaussian(sigma: float, radius: int) -> np.ndarray:
    """Weights [2 radius + 1] of a sampled Gaussian, of sum 1."""
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    return weights / weights.sum()


def correlate(x: Float[Array, "b h w *c"], weights: np.ndarray, axis: int) -> Float[Array, "b h2 w2 *c"]:
    """Correlation with ``weights`` along axis 1 or 2, where they fit: that axis gets ``len(weights) - 1`` shorter.

    A sum of shifted slices, which XLA fuses into one pass; convolutions of single channels are slow everywhere.
    """
    length = x.shape[axis] - len(weights) + 1

    def shifted(offset: int) -> Array:
        return x[:, offset : offset + length] if axis == 1 else x[:, :, offset : offset + length]

    return sum(float(weight) * shifted(offset) for offset, weight in enumerate(weights) if weight)


def smooth(x: Float[Array, "b h w *c"], weights: np.ndarray) -> Float[Array, "b h2 w2 *c"]:
    """``correlate`` along both axes."""
    return correlate(correlate(x, weights, 1), weights, 2)


def pad(x: Float[Array, "b h w *c"], width: int, mode: str) -> Float[Array, "b h2 w2 *c"]:
    """``jnp.pad`` of both axes by ``width`` on every side."""
    return jnp.pad(x, [(0, 0), (width, width), (width, width)] + [(0, 0)] * (x.ndim - 3), mode=mode)
