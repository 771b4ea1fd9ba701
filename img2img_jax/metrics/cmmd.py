"""CMMD: distance between two sets of pictures, by CLIP (Jayasumana et al. 2401.09603)."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from img2img_jax.metrics.mmd import check_sets, mmd2, products

SIGMA = 10.0
"""Bandwidth of the Gaussian kernel, for unit features."""
_SCALE = 1000.0  # as published, for legible numbers


@partial(jax.jit, static_argnames="unbiased")
def cmmd(x: Float[Array, "n p"], y: Float[Array, "m p"], *, unbiased: bool = True) -> Float[Array, ""]:
    """1000 times the squared MMD under a Gaussian kernel: about 0 (same distribution) upwards.

    Published values are of OpenAI's CLIP ViT-L/14 at 336 pixels; those of other features cannot be compared with them.

    Args:
      x, y: unit CLIP features of the two sets.
      unbiased: the estimator of the paper (eq. 4). ``google-research/cmmd`` computes the biased one: False gives its
        values.

    Raises:
      ValueError: fewer than two features, or of different widths.
    """
    check_sets(x, y, "cmmd")
    return _SCALE * mmd2(_gaussian, x, y, unbiased=unbiased)


def _gaussian(x: Float[Array, "n p"], y: Float[Array, "m p"]) -> Float[Array, "n m"]:
    """The kernel minus 1: unit features are near each other at this bandwidth, and float32 would lose the digits."""
    squared = jnp.square(x).sum(-1)[:, None] + jnp.square(y).sum(-1)[None] - 2 * products(x, y)
    return jnp.expm1(-squared / (2 * SIGMA**2))
