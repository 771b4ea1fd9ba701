"""Structural similarity (Wang, Bovik, Sheikh & Simoncelli, IEEE TIP 13(4), 2004)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from img2img_jax.metrics.filters import gaussian, smooth
from img2img_jax.types import UnitImage

SIGMA, RADIUS = 1.5, 5
WINDOW = 2 * RADIUS + 1
"""Side of the Gaussian window, and of the smallest picture, in pixels."""
_C1, _C2 = 0.01**2, 0.03**2  # for a data range of 1


def check_side(shape: tuple[int, ...], smallest: int, metric: str) -> None:
    """Raises ValueError if pictures of this shape [B,H,W,C] are smaller than a metric can take."""
    if min(shape[1:3]) < smallest:
        size = f"{shape[1]}x{shape[2]}"
        raise ValueError(f"{metric} needs pictures of at least {smallest} pixels a side, not {size}; leave it out")


def similarity_terms(source: UnitImage, output: UnitImage) -> tuple[Float[Array, "b 3"], Float[Array, "b 3"]]:
    """Means over the picture, per channel, of the whole index (eq. 13) and of its contrast-structure factor.

    Population covariances under an 11x11 Gaussian window of sigma 1.5, at the places where the window fits.
    """
    window = gaussian(SIGMA, RADIUS)
    # Variances do not feel the shift, and lose less to rounding when the means are near zero.
    x, y = source - 0.5, output - 0.5
    moments = jnp.stack([x, y, x * x, y * y, x * y], axis=-1)
    mean_x, mean_y, square_x, square_y, product = jnp.moveaxis(smooth(moments, window), -1, 0)
    var_x, var_y, covariance = square_x - mean_x**2, square_y - mean_y**2, product - mean_x * mean_y
    structure = (2 * covariance + _C2) / (var_x + var_y + _C2)
    mean_x, mean_y = mean_x + 0.5, mean_y + 0.5
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
    return (luminance * structure).mean((1, 2)), structure.mean((1, 2))


@jax.jit
def ssim(source: UnitImage, output: UnitImage) -> Float[Array, " b"]:
    """Mean structural similarity per sample, averaged over the three channels: -1 to 1 (equal).

    Equal to scikit-image's ``structural_similarity`` with ``gaussian_weights=True, sigma=1.5,
    use_sample_covariance=False, data_range=1``.

    Raises:
      ValueError: pictures below 11 pixels a side.
    """
    check_side(source.shape, WINDOW, "ssim")
    return similarity_terms(source, output)[0].mean(-1)
