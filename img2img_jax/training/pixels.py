"""Batches of uint8 pictures to what the networks see, under jit."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, UInt8

from img2img_jax.types import Image


def to_model(images: UInt8[Array, "b H W 3"]) -> Image:
    """uint8 to float32 in [-1, 1]: ``img2img_jax.images.to_model`` for arrays on a device."""
    return images.astype(jnp.float32) / 127.5 - 1.0
