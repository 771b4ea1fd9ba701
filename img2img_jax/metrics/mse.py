"""Mean squared error, of pictures or of latents."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


@jax.jit
def mse(source: Float[Array, "b h w c"], output: Float[Array, "b h w c"]) -> Float[Array, " b"]:
    """Mean squared difference per sample, in squared units of the inputs.

    For pictures in [0, 1] this lies in [0, 1]. For latents, scaled as the UNet sees them, it has no upper bound; two
    unrelated pictures are about 2 apart, since such latents have about unit variance.
    """
    return jnp.square(source - output).mean((1, 2, 3))
