"""Edges of pictures by Canny's method (IEEE PAMI 8(6), 1986)."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from img2img_jax.metrics.filters import correlate, gaussian, pad, smooth
from img2img_jax.types import UnitImage

LUMA = (0.2125, 0.7154, 0.0721)
"""Weights of red, green and blue, as in scikit-image's ``rgb2gray``."""
_DIFFERENCE, _TRIANGLE = np.asarray([-1.0, 0, 1]), np.asarray([1.0, 2, 1])


@partial(jax.jit, static_argnames="sigma")
def canny(images: UnitImage, *, sigma: float = 1.0, low: float = 0.1, high: float = 0.2) -> Bool[Array, "b H W"]:
    """Thin edges of the luma; never at the outermost pixels.

    Agrees with scikit-image's ``feature.canny`` of ``rgb2gray``, defaults included, but for ties of rounding.

    Args:
      images: pictures of at least 3 pixels a side.
      sigma: of the Gaussian that smooths first, in pixels.
      low, high: thresholds on the Sobel magnitude, which is 8 times the slope per pixel. Edges above ``low`` count if
        they are linked, diagonals included, to one above ``high``.
    """
    grey = _smoothed(sum(weight * images[..., channel] for channel, weight in enumerate(LUMA)), sigma)
    framed = pad(grey, 1, "symmetric")
    down = correlate(correlate(framed, _TRIANGLE, 2), _DIFFERENCE, 1)
    right = correlate(correlate(framed, _TRIANGLE, 1), _DIFFERENCE, 2)
    magnitude = jnp.sqrt(down**2 + right**2)
    weak = _is_ridge(magnitude, down, right) & (magnitude[:, 1:-1, 1:-1] >= low)
    weak = pad(weak, 1, "constant")
    return _linked(weak & (magnitude >= high), weak)


def _smoothed(grey: Float[Array, "b H W"], sigma: float) -> Float[Array, "b H W"]:
    """Gaussian smoothing by the pixels inside the picture alone."""
    radius = int(4 * sigma + 0.5)
    weights = gaussian(sigma, radius)
    share = smooth(pad(jnp.ones_like(grey[:1]), radius, "constant"), weights)
    return smooth(pad(grey, radius, "constant"), weights) / share


def _is_ridge(
    magnitude: Float[Array, "b H W"], down: Float[Array, "b H W"], right: Float[Array, "b H W"]
) -> Bool[Array, "b H-2 W-2"]:
    """Whether an inner pixel is no weaker than its neighbours along the gradient, interpolated between pixels."""
    height, width = magnitude.shape[1:]

    def beside(dy: int, dx: int) -> Array:
        return magnitude[:, 1 + dy : height - 1 + dy, 1 + dx : width - 1 + dx]

    down, right = down[:, 1:-1, 1:-1], right[:, 1:-1, 1:-1]
    steep = jnp.abs(down) >= jnp.abs(right)
    falling = down * right >= 0  # towards the lower right, or the upper left
    larger = jnp.maximum(jnp.abs(down), jnp.abs(right))
    slant = jnp.minimum(jnp.abs(down), jnp.abs(right)) / jnp.where(larger == 0, 1, larger)

    def neighbour(sign: int) -> Array:
        straight = jnp.where(steep, beside(sign, 0), beside(0, sign))
        rising = jnp.where(steep, beside(sign, -sign), beside(-sign, sign))
        diagonal = jnp.where(falling, beside(sign, sign), rising)
        return slant * diagonal + (1 - slant) * straight

    centre = beside(0, 0)
    return (neighbour(1) <= centre) & (neighbour(-1) <= centre)


def _linked(strong: Bool[Array, "b H W"], weak: Bool[Array, "b H W"]) -> Bool[Array, "b H W"]:
    """The weak pixels that a path of weak pixels joins to a strong one."""

    def grow(state: tuple[Array, Array]) -> tuple[Array, Array]:
        found, _ = state
        grown = jax.lax.reduce_window(found, False, jnp.logical_or, (1, 3, 3), (1, 1, 1), "SAME") & weak
        return grown, (grown != found).any()

    return jax.lax.while_loop(lambda state: state[1], grow, (strong, jnp.asarray(True)))[0]
