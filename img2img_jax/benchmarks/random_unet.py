"""A UNet of a known model's shapes with random weights: what is too large to be written first and read twice."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from flax import nnx

from img2img_jax.aot import Networks
from img2img_jax.checkpoints.component import split
from img2img_jax.models import UNet2DConditionModel


def random_unet(model: str, seed: int = 0) -> UNet2DConditionModel:
    """Float32, on the default device; kernels keep the size of what goes through them.

    Args:
      model: a key of ``img2img_jax.aot.networks.MODELS``, for example "sdxl" (10 GB).
    """
    rng = np.random.default_rng(seed)

    def drawn(name: str, shape: tuple[int, ...]) -> np.ndarray:
        values = rng.standard_normal(shape, np.float32)
        if name == "kernel":
            return values / np.float32(np.sqrt(np.prod(shape[:-1])))
        return np.float32(name == "scale") + np.float32(0.1) * values

    graph, parameters = split(Networks.of(model, dtype=jnp.float32).unet)
    filled = [(path, p.replace(jnp.asarray(drawn(str(path[-1]), p.shape)))) for path, p in parameters]
    return nnx.merge(graph, nnx.from_flat_state(filled))
