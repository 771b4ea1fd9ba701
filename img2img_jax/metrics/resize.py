"""Resizing of pictures to what a network takes, on the device."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from img2img_jax.types import UnitImage


def to_square(images: UnitImage, side: int, *, method: str, antialias: bool) -> UnitImage:
    """Pictures stretched to ``side`` x ``side`` pixels; untouched if they have that size.

    Args:
      method, antialias: as ``jax.image.resize`` takes them.
    """
    if images.shape[1:3] == (side, side):
        return images
    return jax.image.resize(images, (len(images), side, side, 3), method, antialias=antialias)


def normalised(images: UnitImage, mean: tuple[float, ...], std: tuple[float, ...]) -> Float[Array, "b H W 3"]:
    """``(images - mean) / std`` per channel."""
    return (images - jnp.asarray(np.float32(mean))) / jnp.asarray(np.float32(std))
