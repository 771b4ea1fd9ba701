"""The four compiled programs of img2img: read the prompt, encode, denoise, decode.

Each takes a network as (graphdef, state): the graphdef is static, the weights are data. Everything that varies per
sample is data too, so that strengths, scales, seeds and prompts never recompile anything.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from img2img_jax import rng
from img2img_jax.diffusion.guidance import guide
from img2img_jax.diffusion.sample import sample, start
from img2img_jax.diffusion.table import SamplingTable
from img2img_jax.types import Image, Latents, TextStates, TokenIds


@partial(jax.jit, static_argnums=0)
def read_prompts(graphdef: nnx.GraphDef, state: nnx.State, input_ids: TokenIds) -> TextStates:
    """States of token ids."""
    return nnx.merge(graphdef, state)(input_ids).last_hidden_state


@partial(jax.jit, static_argnums=0)
def encode(
    graphdef: nnx.GraphDef, state: nnx.State, images: Image, keys: Array, posterior_noise: Latents | None
) -> Latents:
    """Scaled latents of images, drawn from the posterior with ``posterior_noise`` or else with ``keys``."""
    vae = nnx.merge(graphdef, state)
    mean, logvar = vae.encode(images)
    if logvar is None:
        return vae.scale(mean)
    if posterior_noise is None:
        posterior_noise = rng.normal(rng.stream(keys, "posterior"), mean.shape[1:])
    return vae.scale(mean + jnp.exp(0.5 * logvar) * posterior_noise)


@partial(jax.jit, static_argnums=(0, 1))
def denoise(
    graphdef: nnx.GraphDef,
    guided: bool,
    state: nnx.State,
    table: SamplingTable,
    latents: Latents,
    text: Float[Array, "b 2 L d"],
    guidance_scale: Float[Array, " b"],
    guidance_rescale: Float[Array, ""],
    timestep_cond: Float[Array, "b e"] | None,
    keys: Array,
    noise: Latents | None,
    step_noise: Float[Array, "steps b h w c"] | None,
) -> Latents:
    """Noises ``latents`` to each sample's start and integrates back to zero.

    Args:
      guided: classifier-free guidance (Ho & Salimans 2207.12598); without it only the prompts are evaluated.
      text: states of the negative prompt and of the prompt.
      noise, step_noise: given instead of drawn from ``keys``.
    """
    unet = nnx.merge(graphdef, state)
    shape, per_sample = latents.shape[1:], 2 if guided else 1
    # A sample's two rows lie side by side, so that splitting the batch over devices moves nothing between them.
    states = text.reshape(-1, *text.shape[2:]) if guided else text[:, 1]
    condition = None if timestep_cond is None else jnp.repeat(timestep_cond, per_sample, axis=0)

    def predict(x: Latents, timestep: Float[Array, " b"]) -> Latents:
        rows, times = jnp.repeat(x, per_sample, axis=0), jnp.repeat(timestep, per_sample)
        output = unet(rows, times, states, condition).astype(jnp.float32)
        if not guided:
            return output
        negative, positive = jnp.moveaxis(output.reshape(-1, 2, *shape), 1, 0)
        return guide(negative, positive, guidance_scale, guidance_rescale)

    if noise is None:
        noise = rng.normal(rng.stream(keys, "noise"), shape)
    step_keys = rng.stream(keys, "step") if step_noise is None else None
    x = start(table, latents, noise)
    return sample(predict, x, table, step_keys=step_keys, step_noise=step_noise)


@partial(jax.jit, static_argnums=0)
def decode(graphdef: nnx.GraphDef, state: nnx.State, latents: Latents) -> Image:
    """Images of scaled latents, clipped to [-1, 1]."""
    vae = nnx.merge(graphdef, state)
    return jnp.clip(vae.decode(vae.unscale(latents)), -1.0, 1.0)
