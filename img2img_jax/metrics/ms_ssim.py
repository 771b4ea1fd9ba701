"""Multi-scale structural similarity (Wang, Simoncelli & Bovik, Asilomar 2003)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from img2img_jax.metrics.ssim import WINDOW, check_side, similarity_terms
from img2img_jax.types import UnitImage

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of the five scales, finest first (sec. 3.2)."""
SMALLEST = (WINDOW - 1) * 2 ** (len(WEIGHTS) - 1) + 1
"""Side in pixels of the smallest picture whose coarsest scale the window fits in."""


def halve(x: UnitImage) -> UnitImage:
    """Means of 2x2 pixels; the last row or column of an odd side is repeated."""
    b, h, w, c = x.shape
    x = jnp.pad(x, ((0, 0), (0, h % 2), (0, w % 2), (0, 0)), mode="edge")
    return x.reshape(b, -(-h // 2), 2, -(-w // 2), 2, c).mean((2, 4))


@jax.jit
def ms_ssim(source: UnitImage, output: UnitImage) -> Float[Array, " b"]:
    """Product over five scales of contrast and structure, at the coarsest of luminance too (eq. 7): 0 to 1 (equal).

    Computed per channel and averaged. A negative factor, of which no fractional power exists, counts as 0.

    Raises:
      ValueError: pictures below 161 pixels a side.
    """
    check_side(source.shape, SMALLEST, "ms_ssim")
    product = 1.0
    for scale, weight in enumerate(WEIGHTS):
        if scale:
            source, output = halve(source), halve(output)
        whole, structure = similarity_terms(source, output)
        factor = whole if scale == len(WEIGHTS) - 1 else structure
        product *= jnp.maximum(factor, 0) ** weight
    return product.mean(-1)
