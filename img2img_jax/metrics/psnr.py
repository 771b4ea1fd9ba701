"""Peak signal-to-noise ratio."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from img2img_jax.metrics.mse import mse
from img2img_jax.types import UnitImage


@jax.jit
def psnr(source: UnitImage, output: UnitImage) -> Float[Array, " b"]:
    """-10 log10 of the mean squared error, in dB, data range 1: 0 (black against white) to infinity (equal)."""
    return -10 * jnp.log10(mse(source, output))
