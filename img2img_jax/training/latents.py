"""Latents of whole sets of pictures, encoded once before training."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Float, UInt8
from tqdm import tqdm

from img2img_jax import programs, rng
from img2img_jax.training.pixels import batches_of, to_model

PIXELS = 4 * 1024 * 1024
"""Encoded at a time, at most: one activation of Stable Diffusion's VAE, 128 channels of float32, then takes 2 GB."""


def encode_pictures(
    vae: nnx.Module, images: UInt8[np.ndarray, "n H W 3"], size: int = 16
) -> Float[np.ndarray, "n h w c"]:
    """Scaled latents (posterior means) of pictures, ``size`` at a time, or fewer if they are large."""
    size = max(1, min(size, len(images), PIXELS // (images.shape[1] * images.shape[2])))
    graphdef, state = nnx.split(vae)
    keys, batches = rng.sample_keys([0] * size), list(batches_of(images, size))
    # No posterior noise: the keys are not drawn from.
    latents = [
        np.asarray(programs.encode(graphdef, state, to_model(jnp.asarray(batch)), keys, jnp.float32(0)))
        for batch in tqdm(batches, desc="encoding")
    ]
    return np.concatenate(latents)[: len(images)]
