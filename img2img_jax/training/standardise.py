"""Folding per-channel standardisation into the weights that exist, so that the exported networks need no extra step."""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from img2img_jax.models import AutoencoderKL, CLIPTextModel


def standardise_latents(vae: AutoencoderKL, mean: Float[Array, " c"], std: Float[Array, " c"]) -> None:
    """Makes ``vae.encode`` give (z - mean) / std for its former z, and ``decode`` take it, in place.

    Raises:
      ValueError: the VAE has no ``quant_conv`` and ``post_quant_conv`` to fold into.
    """
    if not (vae.config.use_quant_conv and vae.config.use_post_quant_conv):
        raise ValueError("the VAE needs use_quant_conv and use_post_quant_conv to be standardised")
    quant, post = vae.quant_conv, vae.post_quant_conv
    scale = jnp.concatenate([1 / std, jnp.ones_like(std)])
    shift = jnp.concatenate([-mean / std, -2 * jnp.log(std)])  # log-variance scales by 1 / std**2
    quant.kernel[...] = quant.kernel[...] * scale
    quant.bias[...] = quant.bias[...] * scale + shift
    post.bias[...] = post.bias[...] + mean @ post.kernel[0, 0]
    post.kernel[...] = post.kernel[...] * std[:, None]


def standardise_text_states(encoder: CLIPTextModel, mean: Float[Array, " d"], std: Float[Array, " d"]) -> None:
    """Makes the encoder's final states (h - mean) / std for its former h, in place."""
    norm: nnx.Module = encoder.final_layer_norm
    norm.scale[...] = norm.scale[...] / std
    norm.bias[...] = (norm.bias[...] - mean) / std
