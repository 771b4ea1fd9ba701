"""Batches of uint8 pictures to what the networks see, under jit."""

from __future__ import annotations

from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, UInt8

from img2img_jax.types import Image


def to_model(images: UInt8[Array, "b H W 3"]) -> Image:
    """uint8 to float32 in [-1, 1]: ``img2img_jax.images.to_model`` for arrays on a device."""
    return images.astype(jnp.float32) / 127.5 - 1.0


def batches_of(images: UInt8[np.ndarray, "n H W 3"], size: int) -> Iterator[UInt8[np.ndarray, "size H W 3"]]:
    """Batches of one size, so that nothing recompiles: the last is filled up with the last picture."""
    filled = np.concatenate([images, np.repeat(images[-1:], -len(images) % size, 0)])
    return (filled[first : first + size] for first in range(0, len(filled), size))
