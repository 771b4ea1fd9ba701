"""The sampling loop: one for every sampler, strength, scale and seed."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from .. import rng
from .forward import per_sample
from .table import SamplingTable


def start(table: SamplingTable, latents, noise) -> jax.Array:
    """Where sampling starts: x = image_weight x_0 + noise_weight noise.

    A sample that starts from pure noise does not depend on its image, bit for bit, whatever the image
    holds; one of strength 0 is its image, whatever the noise holds.

    Args:
        table: for B samples.
        latents: [B, h, w, c] float32, the encoded images.
        noise: [B, h, w, c] float32, standard normal.

    Returns:
        [B, h, w, c] float32.
    """
    image_weight, noise_weight = (per_sample(w, latents) for w in (table.image_weight, table.noise_weight))
    from_image = jnp.where(image_weight == 0, 0, image_weight * latents)
    return from_image + jnp.where(noise_weight == 0, 0, noise_weight * noise)


def sample(
    denoise_fn: Callable[[jax.Array, jax.Array], jax.Array],
    x: jax.Array,
    table: SamplingTable,
    *,
    step_keys: jax.Array | None = None,
    step_noise: jax.Array | None = None,
) -> jax.Array:
    """Runs the table from its start to its end; to be called under ``jax.jit`` with the table as an argument.

    Args:
        denoise_fn: (x [B, h, w, c] float32, timestep [B] float32) -> the raw prediction [B, h, w, c],
            guidance included.
        x: [B, h, w, c] float32, as ``start`` returns it.
        table: for B samples.
        step_keys: [B] keys of the samplers' noise: row i of sample b draws from ``fold_in(step_keys[b], i)``.
        step_noise: [steps, B, h, w, c] float32, given instead of drawn: row i of sample b takes
            ``step_noise[i, b]``, its i-th draw. It must be as long as the largest ``noise_draws`` of the
            batch; deterministic samplers never look at it.

    Returns:
        [B, h, w, c] float32: clean latents.

    Raises:
        ValueError: unless exactly one of ``step_keys`` and ``step_noise`` is given, or if the latter does
            not fit ``x``.
    """
    if (step_keys is None) == (step_noise is None):
        raise ValueError("give either step_keys or step_noise")
    if step_noise is not None and (step_noise.ndim != x.ndim + 1 or step_noise.shape[1:] != x.shape):
        raise ValueError(f"step_noise has shape {step_noise.shape}; latents {x.shape} need (steps, *{x.shape})")

    def draw(i):
        if step_noise is not None:
            return lax.dynamic_index_in_dim(step_noise, i, keepdims=False).astype(jnp.float32)
        return rng.normal(rng.fold_in(step_keys, i), x.shape[1:])

    def evaluate(carry):
        i, x, saved, m1, m2, m3 = carry
        timestep, convert, clip, to_x, to_saved = (
            lax.dynamic_index_in_dim(rows, i, axis=1, keepdims=False)
            for rows in (table.timestep, table.convert, table.clip, table.x, table.saved)
        )
        output = denoise_fn(x, timestep).astype(jnp.float32)
        clip = per_sample(clip, x)
        m0 = jnp.clip(_combine(convert, (x, output)), -clip, clip)
        noise = lax.cond(jnp.any(to_x[:, -1] != 0), draw, lambda _: jnp.zeros(x.shape, jnp.float32), i)
        basis = (x, saved, output, m0, m1, m2, m3, noise)
        running = per_sample(i < table.evaluations, x)
        next_x = jnp.where(running, _combine(to_x, basis), x)
        return i + 1, next_x, _combine(to_saved, basis), m0, m1, m2

    x = jnp.asarray(x, jnp.float32)
    nothing = jnp.zeros_like(x)
    carry = (jnp.int32(0), x, nothing, nothing, nothing, nothing)
    return lax.while_loop(lambda carry: carry[0] < table.trip_count, evaluate, carry)[1]


def _combine(weights: jax.Array, tensors) -> jax.Array:
    """sum_k weights[:, k] tensors[k], sample by sample."""
    return sum(per_sample(weights[:, k], tensor) * tensor for k, tensor in enumerate(tensors))
