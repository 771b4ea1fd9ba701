"""Classifier-free guidance."""

import jax
import jax.numpy as jnp

from .forward import per_sample


def guide(uncond, cond, scale, rescale=0.0) -> jax.Array:
    """Pushes the prediction away from the unconditional one (Ho & Salimans 2207.12598).

    guided = uncond + scale (cond - uncond), and with ``rescale`` phi the guided prediction is drawn towards
    the standard deviation of the conditional one (Lin et al. 2305.08891, section 3.4), each sample by its
    own statistics.

    Args:
        uncond: [B, ...] the prediction under the empty or negative prompt.
        cond: [B, ...] the prediction under the prompt.
        scale: scalar or [B]; 1 returns ``cond``, 0 returns ``uncond``.
        rescale: phi, scalar or [B], in [0, 1]; 0 leaves the guided prediction as it is.

    Returns:
        [B, ...] the guided prediction.
    """
    guided = uncond + per_sample(scale, cond) * (cond - uncond)
    if isinstance(rescale, int | float) and rescale == 0:
        return guided
    axes = tuple(range(1, cond.ndim))
    wanted, has = (jnp.std(y, axis=axes, keepdims=True) for y in (cond, guided))
    phi = per_sample(rescale, cond)
    # 0 / 0 in a constant prediction must not leak into samples that ask for no rescaling.
    ratio = jnp.where(has > 0, wanted / jnp.where(has > 0, has, 1), 1)
    return guided * (phi * ratio + (1 - phi))
