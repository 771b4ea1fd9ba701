"""Mean absolute error."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from img2img_jax.types import UnitImage


@jax.jit
def l1(source: UnitImage, output: UnitImage) -> Float[Array, " b"]:
    """Mean absolute difference over pixels and channels, per sample: 0 (equal) to 1 (black against white)."""
    return jnp.abs(source - output).mean((1, 2, 3))
